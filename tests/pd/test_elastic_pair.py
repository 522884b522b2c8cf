"""Prefill and decode workers with experts lose a rank each while streams run through a router: every answer is whole.

All workers check the pages that travel and those that are free (PDPANEL_CHECK_PAGES).
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, Process
from pd_http import free_port, get

WAIT_S = 60.0
PAGE, CHUNK, OUTPUT = 16, 64, 32
COMMON = ["--model-path", "random:mixtral-8e", "--dtype", "float32", "--kv-cache-dtype", "float32"]
COMMON += ["--page-size", str(PAGE), "--chunked-prefill-size", str(CHUNK), "--max-total-tokens", "2048"]
COMMON += ["--shutdown-grace-period-secs", "0"]
PROMPTS = [[16 + (7 * i * length + length) % 250 for i in range(length)] for length in (30, 65, 130, 197)]

pytestmark = pytest.mark.timeout(300)


def ranks(tp: int, backend: str = "gloo") -> list[str]:
    return ["--tp-size", str(tp), "--ep-size", str(tp), "--elastic-ep-backend", backend]


class Pair:
    """A prefill and a decode worker behind a router."""

    def __init__(self, cluster: Cluster, transport: str, prefill: Sequence[str], decode: Sequence[str]) -> None:
        self.cluster = cluster
        flags = [*COMMON, "--disaggregation-transfer-backend", transport]
        bootstrap = free_port()
        own = ["--disaggregation-mode", "prefill", "--disaggregation-bootstrap-port", str(bootstrap)]
        self.prefill = cluster.spawn("prefill-0", "launch_server", [*flags, *own, *prefill], free_port())
        own = ["--disaggregation-mode", "decode"]
        self.decode = cluster.spawn("decode-0", "launch_server", [*flags, *own, *decode], free_port())
        for process in (self.prefill, self.decode):
            process.wait_ready("/health")
        router = ["--pd-disaggregation", "--prefill", self.prefill.url, str(bootstrap), "--decode", self.decode.url]
        cluster.spawn("router", "launch_router", router, free_port()).wait_ready("/readiness")

    def log(self) -> str:
        return "\n".join(f"--- {process.name}\n{process.tail()}" for process in self.cluster.processes.values())

    def kill(self, half: Process, rank: int, how: signal.Signals = signal.SIGKILL) -> None:
        os.kill(ranks_of(half)[rank]["pid"], how)


def ranks_of(half: Process) -> list[dict[str, Any]]:
    return get(half.url + "/server_info")["ranks"]


def events(half: Process, name: str) -> list[dict[str, Any]]:
    lines = half.log.read_text(errors="replace").splitlines()
    return [json.loads(line) for line in lines if f'"event": "{name}"' in line]


def wait(condition: Any, why: Any) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.02)


class Clients:
    """Ask the same prompts again and again, each one after another, until they are told to stop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.answers: list[tuple[int, list[int]]] = []  # (prompt, tokens)
        self.times: list[float] = []  # of tokens
        self._stopping = False
        self._threads = ThreadPoolExecutor(len(PROMPTS))
        self._asking: list[Future[None]] = [self._threads.submit(self._ask, first) for first in range(len(PROMPTS))]

    def _ask(self, number: int) -> None:
        while not self._stopping:
            number = (number + 1) % len(PROMPTS)
            self.answers.append((number, self.ask(PROMPTS[number])))

    def ask(self, prompt: list[int]) -> list[int]:
        """Returns the tokens of a stream; fails when it ends with anything but its last one."""
        sampling = {"temperature": 0, "max_new_tokens": OUTPUT, "ignore_eos": True}
        body = json.dumps({"input_ids": prompt, "stream": True, "sampling_params": sampling}).encode()
        asked = urllib.request.Request(f"{self._url}/generate", body, {"Content-Type": "application/json"})
        found: list[dict[str, Any]] = []
        with urllib.request.urlopen(asked, timeout=WAIT_S) as answer:
            for line in answer:
                if line.startswith(b"data: {"):
                    found.append(json.loads(line[6:]))
                    assert "error" not in found[-1], found[-1]
                    self.times.append(time.monotonic())
        ends = [event["meta_info"]["finish_reason"] for event in found]
        assert [end["type"] for end in ends if end is not None] == ["length"], ends
        tokens = found[-1]["output_ids"]
        assert all(event["output_ids"] == tokens[: len(event["output_ids"])] for event in found)
        return tokens

    def go_on(self, requests: int, why: Any) -> None:
        """Returns when so many more requests have been answered."""
        wanted = len(self.answers) + requests
        wait(lambda: len(self.answers) >= wanted or any(one.done() for one in self._asking), why)

    def stop(self) -> None:
        """Returns when all have their last answer; raises what one of them found wrong."""
        self._stopping = True
        try:
            for asking in self._asking:
                asking.result(WAIT_S)
        finally:
            self._threads.shutdown(cancel_futures=True)

    def gap(self, since: float) -> float:
        """The longest time without a token."""
        times = sorted([since, *(at for at in self.times if at > since)])
        return max(after - before for before, after in itertools.pairwise(times))


def check(pair: Pair, clients: Clients, whole: list[list[int]], least: int) -> None:
    """Every answer is the one of before, nothing was written where it must not, and no page is held."""
    clients.stop()
    assert len(clients.answers) >= least
    wrong = [(number, tokens) for number, tokens in clients.answers if tokens != whole[number]]
    assert not wrong, (wrong[0], whole[wrong[0][0]], pair.log())
    wait(lambda: all(pool["free"] + pool["cached"] == pool["total"] for pool in pools(pair)), lambda: pools(pair))
    for half in ("prefill-0", "decode-0"):
        for name in ("pdpanel_late_writes_total", "pdpanel_integrity_errors_total"):
            assert pair.cluster.metric(half, name) == 0, pair.log()


def pools(pair: Pair) -> list[dict[str, int]]:
    return [pool for pools in pair.cluster.pages().values() for pool in pools.values() if pool]


def start(folder: Path, transport: str, prefill: Sequence[str], decode: Sequence[str]) -> Iterator[Pair]:
    cluster = Cluster(folder, {"PDPANEL_CHECK_PAGES": "1"})
    try:
        yield Pair(cluster, transport, prefill, decode)
    finally:
        cluster.stop()


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    yield from start(tmp_path, *request.param)


@pytest.mark.parametrize("pair", [("tcp", ranks(2), ranks(2))], indirect=True)
def test_each_half_loses_a_rank_while_streams_run(pair: Pair) -> None:
    clients = Clients(pair.cluster.url)
    clients.go_on(1, pair.log)
    clients.stop()
    whole = [clients.ask(prompt) for prompt in PROMPTS]
    clients = Clients(pair.cluster.url)
    for half in (pair.prefill, pair.decode):
        clients.go_on(2, pair.log)
        pair.kill(half, 1)
        wait(lambda half=half: events(half, "regrouped"), pair.log)
    clients.go_on(2 * len(PROMPTS), pair.log)
    check(pair, clients, whole, 4)
    for half in (pair.prefill, pair.decode):
        first, second = ranks_of(half)
        assert (first["experts"], first["kv_heads"], first["alive"]) == ([*range(8)], [0, first["kv_heads"][1]], True)
        assert (second["experts"], second["alive"]) == ([], False)
        assert half.popen.poll() is None and len(events(half, "regrouped")) == 1


SPREAD = {
    "2-1": ("tcp", ranks(2), ["--tp-size", "1"]),
    "1-2": ("tcp", ["--tp-size", "1"], ranks(2)),
    "4-2": ("tcp", ranks(4), ranks(2)),
    "shm": ("shm", ranks(2), ranks(2)),
    "mooncake": ("mooncake", ranks(2), ranks(2)),
    "routed": ("tcp", [*ranks(2), "--moe-a2a-backend", "gloo"], [*ranks(2), "--moe-a2a-backend", "mooncake"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("pair", SPREAD.values(), indirect=True, ids=SPREAD.keys())
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_ranks_are_lost_one_after_another(pair: Pair, how: signal.Signals) -> None:
    """A rank that stands still is given up after 20 s of silence."""
    asking = Clients(pair.cluster.url)
    asking.go_on(1, pair.log)
    asking.stop()
    whole = [asking.ask(prompt) for prompt in PROMPTS]
    clients = Clients(pair.cluster.url)
    struck = 0
    for rank in (1, 2, 3):
        for half in (pair.decode, pair.prefill):
            if rank >= len(ranks_of(half)):
                continue
            clients.go_on(4, pair.log)
            since, before = time.monotonic(), len(events(half, "regrouped"))
            pair.kill(half, rank, how)
            wait(lambda half=half, before=before: len(events(half, "regrouped")) > before, pair.log)
            clients.go_on(4, pair.log)
            print(f"{half.name} without rank {rank}: {clients.gap(since):.2f} s without a token")
            struck += 1
    assert struck
    check(pair, clients, whole, 8 * struck)
