"""Rates over the last seconds."""

from __future__ import annotations

from pdpanel.engine.throughput import Throughput


def test_each_counter_has_its_rate_over_the_window() -> None:
    rates = Throughput(5.0)
    assert rates.take(0.0, (0, 0)) == [0.0, 0.0]
    assert rates.take(2.0, (10, 4)) == [5.0, 2.0]
    assert rates.take(4.0, (20, 4)) == [5.0, 1.0]
    assert rates.take(8.0, (20, 4)) == [0.0, 0.0], "what is older than the window does not count"


def test_a_rate_that_nobody_asked_for_in_between_looks_back_further() -> None:
    rates = Throughput(5.0)
    rates.take(0.0, (0,))
    assert rates.take(100.0, (50,)) == [0.5]
    assert rates.take(200.0, (50,)) == [0.0]
    assert rates.take(200.0, (50,)) == [0.0], "the clock stood still"
