"""The router suite in its short form: all routers are started, loaded and told apart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pdpanel.engine.errors import PeerError
from pdpanel.panel.bench.comparison import Comparison
from pdpanel.panel.bench.suite import SuiteOptions
from pdpanel.panel.bench.suites import router
from pdpanel.panel.bench.suites.router_client import Load, request, run
from pdpanel.panel.bench.suites.router_processes import OURS, PEERS, LoadResult, RouterProcess
from pdpanel.panel.bench.suites.router_worker import StandIns

NO_RUNS: Any = None  # This suite starts its processes itself.


def test_the_short_form_measures_all_routers() -> None:
    told: list[str] = []
    found = list(router.measure(SuiteOptions(short=True), NO_RUNS, told.append))
    assert {c.case for c in found} == {"streams=2,pace=10ms,tokens=32", "open=8"}
    assert {c.metric for c in found} == {"streams_per_s", "added_ttft_ms", "cpu_ms_per_stream", "router_rss_mb"}
    assert {c.peer for c in found if c.metric == "streams_per_s"} == set(PEERS)
    assert all(c.value > 0 for c in found if c.metric in ("streams_per_s", "router_rss_mb"))
    assert all(c.line("router")["unit"] for c in found)
    assert len(told) == 1 and all("direct" in line and OURS in line for line in told)


def test_a_router_that_is_not_installed_is_told_and_cases_that_nobody_wants_are_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(router, "is_installed", lambda name: name == OURS)
    told: list[str] = []
    assert not list(router.measure(SuiteOptions(short=True, only=("streams=3",)), NO_RUNS, told.append))
    assert [line.rpartition("pip install ")[2] for line in told] == ["sglang-router==0.3.2", "smg==1.13.0"]


def result(speed: float, ttft_ms: float = 1.0) -> LoadResult:
    return LoadResult(
        seconds=1.0, ended=int(speed), wrong=0, lost=0, ttft_s=ttft_ms / 1000, client_cpu_s=0.25, router_cpu_s=0.5
    )


def test_the_goal_is_held_against_the_better_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "direct": [result(900, 0.5)],
        OURS: [result(300, 2.5)],
        "sglang-router": [result(200, 1.5)],
        "smg": [result(400, 4.5)],
    }
    made = list(router.throughput("streams=64,pace=10ms,tokens=32", found, paced=True))
    by = {(c.metric, c.peer): c for c in made}

    def is_met(metric: str) -> dict[str, bool | None]:
        return {peer: c.is_met for (name, peer), c in by.items() if name == metric}

    assert is_met("streams_per_s") == {"sglang-router": None, "smg": False}
    assert is_met("added_ttft_ms") == {"sglang-router": False, "smg": None}
    assert is_met("cpu_ms_per_stream") == {"sglang-router": None, "smg": None}
    added: Comparison = by["added_ttft_ms", "smg"]
    assert added.value == pytest.approx(2.0) and added.ratio == pytest.approx(0.5)
    assert "900" in by["streams_per_s", "smg"].note


def test_a_stand_in_sends_every_token_to_those_who_ask_without_a_room() -> None:
    async def test() -> None:
        from pdpanel.engine.net import free_port

        ports = [free_port("127.0.0.1") for _ in range(3)]
        serving = asyncio.create_task(StandIns(0.001).serve(*ports))
        try:
            async with asyncio.timeout(20):
                while True:
                    try:
                        seen = await run(Load(f"http://127.0.0.1:{ports[1]}", 2, 5, seconds=0.2, warm_s=0.05))
                        break
                    except OSError:
                        await asyncio.sleep(0.01)
            assert seen["ended"] and not seen["wrong"] and not seen["lost"]
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(test())


def test_a_router_that_loses_streams_is_no_result() -> None:
    with pytest.raises(PeerError):
        RouterProcess("http://127.0.0.1:9", None).load(1, 4, 0.1, 0.1)


def test_a_request_is_complete() -> None:
    head, _, body = request(Load("http://127.0.0.1:1", 1, 4)).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1:1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head and b'"max_new_tokens": 4' in body
