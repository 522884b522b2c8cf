"""The sentence does not flicker: a new limit is shown once it has been found several times."""

from __future__ import annotations

from pdpanel.panel.verdict.steady import Steady
from pdpanel.panel.verdict.values import Limit, Verdict


def _found(limit: Limit, **gains: float) -> Verdict:
    return Verdict(limit, 1.0, f"{limit}.", gains=gains)


def test_a_single_other_verdict_is_not_shown() -> None:
    steady = Steady()
    prefill = _found(Limit.PREFILL, prefill=1.5, decode=1.3)
    decode = _found(Limit.DECODE, prefill=1.3, decode=1.5)
    shown = [steady.next(one).limit for one in (prefill, decode, prefill, decode, decode, prefill)]
    assert shown == [Limit.PREFILL] * 6


def test_a_lasting_one_is_shown() -> None:
    steady = Steady()
    steady.next(_found(Limit.PREFILL, prefill=1.5, decode=1.3))
    decode = _found(Limit.DECODE, prefill=1.3, decode=1.5)
    assert [steady.next(decode).limit for _ in range(4)] == [Limit.PREFILL, Limit.PREFILL, Limit.DECODE, Limit.DECODE]


def test_a_limit_whose_relief_gives_nothing_any_more_goes_at_once() -> None:
    steady = Steady()
    steady.next(_found(Limit.PREFILL, prefill=1.5))
    assert steady.next(_found(Limit.DECODE, prefill=1.0, decode=1.8)).limit is Limit.DECODE


def test_the_end_of_the_load_and_of_the_samples_is_shown_at_once() -> None:
    steady = Steady()
    steady.next(_found(Limit.PREFILL, prefill=1.5))
    assert steady.next(_found(Limit.NOTHING, prefill=1.0)).limit is Limit.NOTHING
    assert steady.next(_found(Limit.UNKNOWN)).limit is Limit.UNKNOWN
    assert steady.next(_found(Limit.PREFILL, prefill=1.5)).limit is Limit.PREFILL
