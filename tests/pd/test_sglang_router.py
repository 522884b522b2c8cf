"""SGLang's own router in front of our workers: it reads decode alone, and finds all that it asks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import pytest
from pd_http import free_port

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def url(make_cluster, tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("sglang-router")
    with make_cluster(folder, ["--max-total-tokens", "2048"], prefill=1, decode=1) as pair:
        router = pair.processes["router"]
        ours = router.popen.args[router.popen.args.index("--pd-disaggregation") :]
        workers = ours[1 : ours.index("--port")]
        port, metrics = free_port(), free_port()
        command = [sys.executable, "-m", "sglang_router.launch_router", "--pd-disaggregation", *workers]
        command += ["--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin", "--log-level", "warn"]
        command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics)]
        with (folder / "sglang-router.log").open("wb") as log:
            theirs = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "1"})
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 60
            while True:
                assert theirs.poll() is None, (folder / "sglang-router.log").read_text()
                with suppress(OSError), urllib.request.urlopen(address + "/readiness", timeout=5) as answer:
                    if answer.status == 200:
                        break
                assert time.monotonic() < deadline, (folder / "sglang-router.log").read_text()
                time.sleep(0.1)
            yield address
            pair.wait_idle()
        finally:
            theirs.terminate()
            theirs.wait(20)


def ask(url: str, body: dict) -> str:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read().decode()
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from None


def test_generate_and_the_openai_routes_answer(url: str) -> None:
    sampling = {"temperature": 0, "max_new_tokens": 6, "ignore_eos": True}
    native = json.loads(ask(url + "/generate", {"text": "The capital of France is", "sampling_params": sampling}))
    assert len(native["output_ids"]) == 6
    body = {"model": "SmolLM2-135M-Instruct", "prompt": "The capital of France is", "max_tokens": 6, "temperature": 0}
    completion = json.loads(ask(url + "/v1/completions", body))
    assert native["text"].startswith(completion["choices"][0]["text"])


def test_a_chat_streams_to_its_end(url: str) -> None:
    body = {"model": "SmolLM2-135M-Instruct", "messages": [{"role": "user", "content": "Say hello."}]}
    text = ask(url + "/v1/chat/completions", body | {"max_tokens": 8, "stream": True})
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line]
    assert lines[-1] == "[DONE]"
    events = [json.loads(line) for line in lines[:-1]]
    assert events[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
