"""Queues that are known a moment longer than a page takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.verdict.evidence import Evidence
from pdpanel.panel.verdict.held import HELD_S, held
from pdpanel.panel.verdict.judge import judge
from pdpanel.panel.verdict.shape import Shape, Worker
from pdpanel.panel.verdict.values import Limit

PREFILL, DECODE = "proc/prefill-0/running", "proc/decode-0/running"
SHAPE = Shape((Worker("prefill-0", 32),), (Worker("decode-0", 1),))
ROWS = st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(0, 9)), max_size=30)


def test_workers_that_answer_in_turn_are_known_in_every_row() -> None:
    """Each page was late for every second row, the one's for the even and the other's for the odd ones."""
    rows = [(t / 2, {DECODE: 1.0} if t % 2 else {PREFILL: 0.0}) for t in range(40)]
    assert judge(Evidence(rows, SHAPE)).limit is Limit.UNKNOWN
    assert judge(Evidence(list(held(rows, (PREFILL, DECODE))), SHAPE)).limit is Limit.DECODE


def test_who_is_silent_for_longer_is_not_known_and_is_named() -> None:
    rows = [
        (t / 2, {DECODE: 1.0} if t % 10 else {PREFILL: 0.0, DECODE: 1.0, "host/cpu_percent": 9.0}) for t in range(20)
    ]
    filled = list(held(rows, (PREFILL, DECODE)))
    assert [PREFILL in values for _, values in filled] == [t % 10 <= HELD_S * 2 for t in range(20)]
    assert sum("host/cpu_percent" in values for _, values in filled) == 2, "a rate is not held"
    silent = [(t, {DECODE: 1.0}) for t, _ in rows]
    assert "; prefill-0 answered too seldom, as on a host that is too busy" in judge(Evidence(silent, SHAPE)).sentence


@given(ROWS, st.sets(st.sampled_from("abc")))
def test_what_a_row_says_is_never_changed(told: list[dict[str, float]], gauges: set[str]) -> None:
    rows = [(float(t), values) for t, values in enumerate(told)]
    for (t, before), (same, after) in zip(rows, held(rows, gauges), strict=True):
        assert t == same
        assert {**after, **before} == after
        assert after.keys() - before.keys() <= gauges
