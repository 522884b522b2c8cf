"""Every worker is restarted once under load, and no request is lost: what cannot end in time goes on elsewhere."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import pytest

# In bfloat16 near ties between two tokens turn with the size of the batch.
ARGUMENTS = ["--max-total-tokens", "2048", "--max-running-requests", "8", "--kv-cache-dtype", "float32"]
ARGUMENTS += ["--shutdown-grace-period-secs", "0.5"]
TOKENS = 24

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


def ask(url: str, number: int) -> list[Any]:
    """Returns the events of one stream; a refusal or an error event fails."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
    sampling = {"temperature": 0.8, "sampling_seed": number, "max_new_tokens": TOKENS, "ignore_eos": True}
    body = {"text": f"Number {number % 4} is", "sampling_params": sampling, "stream": True}
    connection.request("POST", "/generate", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == 200, text
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line]
    assert lines[-1] == "[DONE]", text
    return [json.loads(line) for line in lines[:-1]]


class Client(threading.Thread):
    """Asks the same again and again, and keeps what differed or failed."""

    def __init__(self, url: str, number: int, expected: list[int], stop: threading.Event) -> None:
        super().__init__()
        self.url, self.number, self.expected, self.stop = url, number, expected, stop
        self.served = 0
        self.problems: list[str] = []

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                events = ask(self.url, self.number)
                counts = [event["meta_info"]["completion_tokens"] for event in events]
                assert counts == list(range(1, TOKENS + 1)), counts
                assert events[-1]["output_ids"] == self.expected, (events[-1]["output_ids"], self.expected)
                self.served += 1
            except (AssertionError, OSError, KeyError, http.client.HTTPException) as error:
                self.problems.append(f"{self.number}: {error!r}"[:600])


def wait_healthy(url: str, count: int) -> None:
    deadline, workers = time.monotonic() + 60, []
    while time.monotonic() < deadline:
        with urllib.request.urlopen(url + "/workers", timeout=10) as response:
            workers = json.load(response)["workers"]
        if sum(worker["is_healthy"] for worker in workers) == count:
            return
        time.sleep(0.05)
    raise AssertionError(f"not {count} workers are healthy: {workers}")


def test_a_rolling_restart_loses_no_request(make_cluster, tmp_path) -> None:
    with make_cluster(tmp_path, ARGUMENTS, prefill=2, decode=2) as made:
        expected = [ask(made.url, number)[-1]["output_ids"] for number in range(4)]
        stop = threading.Event()
        clients = [Client(made.url, number, expected[number], stop) for number in range(4)]
        for client in clients:
            client.start()
        try:
            for name in [name for name in made.processes if name != "router"]:
                process, before = made.processes[name], sum(client.served for client in clients)
                assert process.stop() == 0, process.tail()
                role, port = name.partition("-")[0], int(process.url.rpartition(":")[2])
                extra = ["--disaggregation-bootstrap-port", str(process.bootstrap)] if process.bootstrap else []
                mode = ["--model-path", "smollm2-135m-instruct", "--disaggregation-mode", role, *ARGUMENTS, *extra]
                made.spawn(name, "launch_server", mode, port).bootstrap = process.bootstrap
                made.processes[name].wait_ready("/health")
                wait_healthy(made.url, 4)
                deadline = time.monotonic() + 60
                while sum(client.served for client in clients) < before + 4 and time.monotonic() < deadline:
                    time.sleep(0.05)
        finally:
            stop.set()
            for client in clients:
                client.join()
        assert [problem for client in clients for problem in client.problems] == []
        assert all(client.served for client in clients)
        made.wait_idle()
