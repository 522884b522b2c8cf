"""A worker whose ranks have experts goes on when one of them is killed in the midst of an answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pd_http import free_port, get, post

WAIT_S = 60.0
TOKENS = 40
PROMPTS = ([*range(20, 50)], [*range(90, 97)])


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """Two ranks with four experts each; (URL, process, log)."""
    folder = tmp_path_factory.mktemp("elastic")
    port, log = free_port(), folder / "log"
    arguments = ["--model-path", "random:mixtral-8e", "--port", str(port), "--kv-cache-dtype", "float32"]
    arguments += ["--tp-size", "2", "--ep-size", "2", "--elastic-ep-backend", "gloo"]
    arguments += ["--max-total-tokens", "1024", "--page-size", "16"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PDPANEL_CACHE_DIR": str(folder / "cache")}
    with log.open("wb") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", "pdpanel.engine.launch_server", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + WAIT_S
    try:
        while True:
            assert started.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")
            try:
                urllib.request.urlopen(url + "/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        yield url, started, log
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(20)
        finally:
            started.kill()
            started.wait(20)


def body(prompt: list[int], *, stream: bool) -> dict[str, Any]:
    sampling = {"temperature": 0.7, "sampling_seed": 11, "max_new_tokens": TOKENS, "ignore_eos": True}
    return {"input_ids": prompt, "stream": stream, "sampling_params": sampling}


def test_answers_go_on_as_if_no_rank_had_died(worker: tuple[str, subprocess.Popen[bytes], Path]) -> None:
    url, process, log = worker
    whole = [post(f"{url}/generate", body(prompt, stream=False))[1]["output_ids"] for prompt in PROMPTS]
    assert all(len(tokens) == TOKENS for tokens in whole)
    second = get(f"{url}/server_info")["ranks"][1]
    assert (second["experts"], second["alive"]) == ([4, 5, 6, 7], True)

    data = json.dumps(body(PROMPTS[0], stream=True)).encode()
    asked = urllib.request.Request(f"{url}/generate", data, {"Content-Type": "application/json"})
    events: list[dict[str, Any]] = []
    with urllib.request.urlopen(asked, timeout=WAIT_S) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                events.append(json.loads(line[6:]))
                if len(events) == 5:
                    os.kill(second["pid"], signal.SIGKILL)
    tokens = events[-1]["output_ids"] if len(events[-1]["output_ids"]) > 1 else [e["output_ids"][0] for e in events]
    assert tokens == whole[0], log.read_text(errors="replace")
    assert sum(event["meta_info"]["finish_reason"] is not None for event in events) == 1
    assert '"event": "rank_lost"' in log.read_text() and "was ended by SIGKILL" in log.read_text()

    first, second = get(f"{url}/server_info")["ranks"]
    assert (first["experts"], first["heads"], first["alive"]) == ([*range(8)], [0, 8], True)
    assert (second["experts"], second["heads"], second["alive"]) == ([], [0, 0], False)
    assert post(f"{url}/generate", body(PROMPTS[1], stream=False))[1]["output_ids"] == whole[1]
    assert process.poll() is None
