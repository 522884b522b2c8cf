"""The transfer suite's short form, and what its figures are made of. No time is asserted."""

from __future__ import annotations

from typing import Any, cast

import pytest
from pdpanel.engine.errors import PeerError
from pdpanel.panel.bench.suite import SuiteOptions
from pdpanel.panel.bench.suites.transfer import TRANSPORTS, measure
from pdpanel.panel.bench.suites.transfer_pair import Pair
from pdpanel.panel.bench.suites.transfer_prompt import PAGE, Prompt, page_bytes
from pdpanel.panel.bench.suites.transfer_wire import Carry, Report

NO_RUNS = cast("Any", None)


def test_a_page_is_as_large_as_the_engine_writes_it() -> None:
    assert page_bytes(2) == 23_040 * PAGE and page_bytes(4) == 46_080 * PAGE


@pytest.mark.parametrize(("layout", "segments"), [("contiguous", 1), ("fragmented", 32)])
def test_the_writes_of_a_prompt_bring_each_page_once(layout: str, segments: int) -> None:
    prompt = Prompt(2048, 512, 2, layout)
    writes = prompt.writes()
    assert [len(write) for write in writes] == [segments] * 4
    for side in ("source", "target"):
        places = sorted((getattr(s, side), s.length) for write in writes for s in write)
        ends = [0, *(place + length for place, length in places)]
        assert [place for place, _ in places] == ends[:-1] and ends[-1] == prompt.size


def test_the_short_form_measures_every_transport_that_is_installed() -> None:
    told: list[str] = []
    found = list(measure(SuiteOptions(short=True, rounds=1), NO_RUNS, told.append))
    missing = {name for name in TRANSPORTS if any(line.startswith(f"without {name}:") for line in told)}
    assert missing <= {"mooncake_tcp", "nixl"}
    for transport in set(TRANSPORTS) - missing:
        mine = [f for f in found if f.case.startswith(f"transport={transport},")]
        assert {f.metric for f in mine} == {"goodput", "cpu", "staging_share", "last_chunk"}
        goods = [f for f in mine if f.metric == "goodput"]
        assert {"plain socket", "memcpy"} <= {f.peer for f in goods}
        assert all(value > 0 for f in mine for value in (*f.values, *f.peer_values) if f.metric != "cpu")
        assert {f.case.split(",")[1] for f in mine} == {"layout=contiguous", "layout=fragmented"}
    assert {f.case.split(",")[0] for f in found if f.metric == "staging_copy"} == {"copy=export", "copy=import"}
    goals = {(f.case.split(",")[0], f.peer): str(f.goal) for f in found if f.goal is not None}
    assert goals[("transport=shm", "memcpy")] == ">= 0.7"
    if "mooncake_tcp" not in missing:
        assert goals[("transport=mooncake_tcp", "raw mooncake")] == ">= 0.9"


def test_only_what_is_asked_for_is_measured() -> None:
    case = "copy=import,layout=fragmented"
    found = list(measure(SuiteOptions(short=True, rounds=1, only=(case,)), NO_RUNS, lambda line: None))
    assert [(f.case, f.metric, f.peer) for f in found] == [(f"{case},kv=bfloat16", "staging_copy", "memcpy")]


def test_bytes_that_do_not_arrive_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A carrier that says done without having written is caught before it is measured."""
    pair = Pair("plain socket", 4 << 20, 2)
    writes = Prompt(128, 128, 2, "contiguous").writes()
    try:
        pair.prove(writes)
        sender = pair._ends[1]
        ask = sender.ask
        monkeypatch.setattr(sender, "ask", lambda order: Report() if isinstance(order, Carry) else ask(order))
        with pytest.raises(PeerError, match="did not bring"):
            pair.prove(writes)
    finally:
        pair.close()


def test_a_process_that_ends_is_told_of() -> None:
    pair = Pair("plain socket", 1 << 20, 2)
    receiver = pair._ends[0]._child.process
    receiver.kill()
    receiver.wait()
    with pytest.raises(PeerError, match="receive process of plain socket ended"):
        pair.prove(Prompt(32, 32, 2, "contiguous").writes())
    pair.close()
