from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.panel.load.plan import arrival_times, planned_requests
from pdpanel.panel.load.spec import Arrival, LoadSpec

SPEC = LoadSpec(url="http://h", requests=40, input="10-90", output="5~2")


@given(st.integers(0, 1000), st.sampled_from([0.5, 4.0, 100.0]))
@settings(max_examples=20)
def test_poisson_arrivals_have_the_rate_and_no_order_in_their_gaps(seed: int, rate: float) -> None:
    spec = replace(SPEC, arrival=Arrival.POISSON, rate=rate, seed=seed)
    times = list(islice(arrival_times(spec), 4001))
    gaps = [two - one for one, two in pairwise(times)]
    assert times[0] == 0
    assert min(gaps) >= 0
    mean = fmean(gaps)
    # An exponential's deviation is its mean; seven standard errors either way.
    assert mean * rate == pytest.approx(1, abs=7 / 4000**0.5)
    assert fmean(gap * gap for gap in gaps) * rate**2 == pytest.approx(2, abs=0.6)


def test_equal_gaps_are_equal_and_a_burst_has_none() -> None:
    constant = replace(SPEC, arrival=Arrival.CONSTANT, rate=4.0)
    assert list(islice(arrival_times(constant), 4)) == pytest.approx([0, 0.25, 0.5, 0.75])
    assert {one.at_s for one in planned_requests(replace(SPEC, arrival=Arrival.BURST))} == {0.0}


def test_number_and_time_end_a_load() -> None:
    assert len(list(planned_requests(SPEC))) == 40
    timed = replace(SPEC, arrival=Arrival.CONSTANT, rate=10.0, requests=None, duration_s=2.0)
    assert len(list(planned_requests(timed))) == 20
    assert len(list(planned_requests(replace(timed, requests=3)))) == 3


def test_another_rate_asks_the_same_questions() -> None:
    one = [(each.input_length, each.output_length) for each in planned_requests(SPEC)]
    other = replace(SPEC, arrival=Arrival.POISSON, rate=3.0)
    assert [(each.input_length, each.output_length) for each in planned_requests(other)] == one
    assert [(each.input_length, each.output_length) for each in planned_requests(replace(SPEC, seed=1))] != one
    assert all(10 <= length <= 90 for length, _ in one)
    assert len({length for length, _ in one}) > 10
