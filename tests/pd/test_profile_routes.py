"""Profiles of a real worker over HTTP: SGLang's routes, native kernels by name, and nothing outside its folder."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Process
from pd_http import free_port, get, post
from pdpanel.panel.profile_summary import summary_of

BOSS = "boss"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A unified worker of a small model, started in a folder of its own."""
    folder, port = tmp_path_factory.mktemp("worker"), free_port()
    command = [sys.executable, "-m", "pdpanel.engine.launch_server", "--model-path", "random:llama-tiny"]
    command += ["--port", str(port), "--max-total-tokens", "1024", "--admin-api-key", BOSS]
    log = folder / "worker.log"
    with log.open("wb") as output:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        popen = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=folder)
    process = Process("unified-0", f"http://127.0.0.1:{port}", log, popen)
    process.wait_ready("/health")
    # Asked here, not in a test: whichever test runs first leaves a profile behind.
    assert get(process.url + "/profile")["state"] == "idle"
    yield process
    process.stop()


def ask(worker: Process, path: str, body: dict[str, Any] | None = None, key: str = BOSS) -> tuple[int, Any]:
    """Returns status and JSON of a POST with an administrator's key."""
    import urllib.error
    import urllib.request

    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(worker.url + path, data or b"", headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def generate(worker: Process, tokens: int) -> None:
    sampling = {"max_new_tokens": tokens, "temperature": 0, "ignore_eos": True}
    status, answer = post(worker.url + "/generate", {"input_ids": [*range(20, 60)], "sampling_params": sampling})
    assert status == 200 and len(answer["output_ids"]) == tokens


def test_a_profile_shows_steps_and_what_they_are_made_of(worker: Process) -> None:
    assert ask(worker, "/start_profile", {"activities": ["CPU", "GPU"], "num_steps": None})[0] == 200
    assert get(worker.url + "/profile")["state"] == "profiling"
    generate(worker, 8)
    status, answer = ask(worker, "/stop_profile")
    assert status == 200 and answer["state"] == "done"
    (file,) = answer["files"]
    assert Path(file["path"]).is_relative_to(worker.log.parent / "profiles")
    found = summary_of(Path(file["path"]))
    steps = {one["name"]: one["count"] for one in found["steps"]}
    assert steps["prefill step"] == 1 and steps["decode step"] >= 7
    executor = get(worker.url + "/server_info")["executor"]
    names = {one["name"] for one in found["operators"]}
    assert names & ({"qkv", "attention", "gate_up", "down"} if executor["executor"] == "native" else {"aten::mm"})
    assert 0 < found["compute_s"] < found["seconds"] and found["wait_s"] > 0
    with gzip.open(file["path"]) as trace:
        assert json.load(trace)["traceEvents"]


def test_it_ends_after_the_steps_that_were_asked_for(worker: Process) -> None:
    assert ask(worker, "/start_profile", {"num_steps": 3, "output_dir": "mine"})[0] == 200
    generate(worker, 6)
    status, answer = ask(worker, "/stop_profile")
    # It may have been written by now: then nothing is under way.
    status = get(worker.url + "/profile") if status == 409 else answer
    assert status["state"] == "done" and status["steps"] == 3
    assert Path(status["files"][0]["path"]).is_relative_to(worker.log.parent / "mine")


WRONG: list[tuple[str, dict[str, Any], str, int, str]] = [
    ("/start_profile", {}, "", 401, "--admin-api-key"),
    ("/stop_profile", {}, BOSS, 409, "no profile is under way"),
    ("/start_profile", {"output_dir": "../x"}, BOSS, 400, "output_dir"),
    ("/start_profile", {"output_dir": "/tmp"}, BOSS, 400, "output_dir"),
    ("/start_profile", {"num_steps": 0}, BOSS, 400, "num_steps"),
    ("/start_profile", {"activities": ["RPD"]}, BOSS, 400, "CPU and GPU"),
    ("/start_profile", {"profile_by_stage": True}, BOSS, 400, "profile_by_stage"),
    ("/start_profile", {"outputdir": "x"}, BOSS, 400, "output_dir"),
]


@pytest.mark.parametrize(("path", "body", "key", "status", "words"), WRONG)
def test_what_cannot_be_is_refused(
    worker: Process, path: str, body: dict[str, Any], key: str, status: int, words: str
) -> None:
    found, answer = ask(worker, path, body, key)
    assert found == status and words in answer["error"]["message"]
    assert get(worker.url + "/profile")["state"] in {"idle", "done"}
