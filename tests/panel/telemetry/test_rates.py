from __future__ import annotations

import math

from pdpanel.panel.telemetry.histogram import Histogram
from pdpanel.panel.telemetry.rates import Rates, Windows


def counted(value: float) -> Histogram:
    return Histogram((1.0, math.inf), (value, value), value)


def test_a_counter_that_went_down_makes_a_gap_and_then_goes_on() -> None:
    rates = Rates()
    assert [rates.rate("k", value, t) for t, value in enumerate((5.0, 9.0, 1.0, 3.0))] == [None, 4.0, None, 2.0]


def test_a_window_holds_what_was_observed_in_its_seconds() -> None:
    windows = Windows(2.0)
    found = [windows.observed("k", counted(value), float(t)) for t, value in enumerate((0, 4, 4, 4, 4))]
    assert [None if one is None else one.count for one in found] == [None, 4.0, 4.0, None, None]


def test_a_restart_empties_the_window() -> None:
    windows = Windows(5.0)
    assert windows.observed("k", counted(4), 0.0) is None
    assert windows.observed("k", counted(1), 1.0) is None
    found = windows.observed("k", counted(3), 2.0)
    assert found is not None and found.count == 2.0
