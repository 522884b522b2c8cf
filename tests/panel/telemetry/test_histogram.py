from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.telemetry.histogram import Histogram, merged

BOUNDS = (1.0, 2.0, 4.0, 8.0, math.inf)


def histogram(values: list[float]) -> Histogram:
    counts = tuple(float(sum(value <= bound for value in values)) for bound in BOUNDS)
    return Histogram(BOUNDS, counts, sum(values))


@given(st.lists(st.floats(0.01, 8.0), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    found = histogram(values).quantile(share)
    true = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    upper = next(bound for bound in BOUNDS if true <= bound)
    lower = max((bound for bound in BOUNDS if bound < true), default=0.0)
    assert found is not None and lower - 1e-9 <= found <= upper + 1e-9


@given(st.lists(st.floats(0.01, 100.0)), st.lists(st.floats(0.01, 100.0)))
def test_what_lies_between_two_looks_is_what_was_observed_between(old: list[float], new: list[float]) -> None:
    between = histogram(old + new).since(histogram(old))
    assert between is not None
    assert between.counts == histogram(new).counts
    assert between.quantile(0.5) == histogram(new).quantile(0.5)


def test_nothing_observed_has_no_quantile_and_no_mean() -> None:
    assert (histogram([]).quantile(0.5), histogram([]).mean()) == (None, None)


def test_the_share_above_a_bound() -> None:
    between = histogram([0.5, 1.0, 3.0, 50.0])
    assert [between.share_above(bound) for bound in between.bounds] == [1 - count / 4 for count in between.counts], (
        "nothing lies above infinity, and all that is larger above a bound"
    )
    assert between.share_above(1.5) is None and histogram([]).share_above(between.bounds[0]) is None


def test_above_the_last_bound_nothing_more_is_known() -> None:
    assert histogram([50.0]).quantile(0.99) == 8.0


def test_a_program_started_anew_has_no_difference() -> None:
    assert histogram([1.0]).since(histogram([1.0, 3.0])) is None


def test_workers_with_the_same_bounds_add_up() -> None:
    assert merged([histogram([1.0]), histogram([3.0])]) == histogram([1.0, 3.0])
    assert merged([]) is None
