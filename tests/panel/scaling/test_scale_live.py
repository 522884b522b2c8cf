"""Real workers under a steady load: one more, one less, and not one request fails."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pdpanel.engine.errors import PdpanelError
from pdpanel.panel.config import read_config
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.launch import Role
from pdpanel.panel.runs import Runs

DEPLOYMENT: dict[str, Any] = {
    "name": "scaled",
    "model": "SmolLM2-135M-Instruct",
    "prefill": {"count": 1},
    "decode": {"count": 1},
    "transport": "tcp",
}
CLIENTS = 3

pytestmark = pytest.mark.timeout(300)


class Load:
    """Streams short answers, a few at a time, until it is stopped."""

    def __init__(self, url: str) -> None:
        self.done = 0
        self.failures: list[str] = []
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(120)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._client(session, number) for number in range(CLIENTS)))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            body = {"prompt": f"Client {number} asks {turn}:", "max_tokens": 6, "stream": True, "ignore_eos": True}
            try:
                async with session.post(f"{self._url}/v1/completions", json=body) as answer:
                    text = await answer.text()
                    ended = text.rstrip().endswith("data: [DONE]") and '"error":' not in text  # a key, no word
                    if answer.status != 200 or not ended:
                        self.failures.append(f"status {answer.status}: {text[-300:]}")
            except aiohttp.ClientError as error:
                self.failures.append(repr(error))
            self.done += 1


def wait_for(look: Callable[[], object], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def requests_of(url: str) -> dict[int, int]:
    """Returns how many requests the router has given to each worker, by the worker's port."""
    with urllib.request.urlopen(f"{url}/workers", timeout=20) as answer:
        rows = json.load(answer)["workers"]
    return {int(row["url"].rpartition(":")[2]): row["requests"] for row in rows}


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(read_config(state_dir=tmp_path / "state"))
    yield runs
    for view in runs.list():
        try:
            runs.stop(view.id)
        except PdpanelError as error:
            pytest.fail(f"{view.id} could not be stopped: {error}")


def test_a_worker_comes_and_goes_under_load_and_no_request_fails(runs: Runs) -> None:
    run_id = runs.start(parse_deployment(DEPLOYMENT)).id
    wait_for(lambda: runs.get(run_id).state in {"ready", "failed"}, "the run's start", 180)
    before = runs.get(run_id)
    assert before.state == "ready", before.notice
    url = before.router_url.rstrip("/")
    load = Load(url)
    try:
        wait_for(lambda: load.done >= CLIENTS, "the load's begin")
        shown = runs.scaling.preview(run_id, {Role.DECODE: 2})
        assert shown.difference.restarts == ()
        more = runs.scaling.apply(run_id, {Role.DECODE: 2}, shown.id)
        port = next(process.port for process in more.processes if process.name == "decode-1")
        wait_for(lambda: requests_of(url)[port] > 0, "requests on the new worker")
        key = "proc/decode-1/generated_tokens_per_s"
        wait_for(lambda: any(row.values.get(key, 0) > 0 for row in runs.samples(run_id).rows), "its own tokens")
        fewer = runs.scaling.apply(run_id, {Role.DECODE: 1}, runs.scaling.preview(run_id, {Role.DECODE: 1}).id)
        done = load.done
        wait_for(lambda: load.done >= done + CLIENTS, "the load goes on")
    finally:
        load.stop()
    assert load.failures == []
    assert port not in requests_of(url)
    assert [process.pid for process in fewer.processes] == [process.pid for process in before.processes]
    assert fewer.state == "ready"
