"""A cost on a straight line, with whatever fixed part, is linear; one above it is told, by how much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.bench.suites.scale_growth import TOLERANCE, beyond_linear, medians_of, said_of

_SIZES = st.lists(st.integers(1, 5000), min_size=3, max_size=7, unique=True)


@given(_SIZES, st.floats(0.01, 1000), st.floats(0, 100))
def test_a_line_is_linear_whatever_its_fixed_part(sizes: list[int], fixed: float, slope: float) -> None:
    costs = {size: fixed + slope * size for size in sizes}
    for size in sizes:
        factor = beyond_linear(costs, size)
        assert factor is None or factor == pytest.approx(1)
        assert said_of(costs, size) == ""


def test_with_fewer_than_two_smaller_sizes_nothing_is_foretold() -> None:
    costs = {1: 1.0, 2: 100.0}
    assert beyond_linear(costs, 1) is None
    assert beyond_linear(costs, 2) is None


def test_what_grows_with_the_square_is_told() -> None:
    costs = {size: float(size * size) for size in (128, 512, 1024, 2048)}
    assert said_of(costs, 512) == ""
    told = beyond_linear(costs, 2048)
    assert told is not None and told > TOLERANCE
    assert f"{told:.2f} times" in said_of(costs, 2048)


def test_a_cost_that_fell_before_is_no_excuse_for_growth() -> None:
    assert beyond_linear({1: 10.0, 8: 4.0, 32: 4.0}, 32) == 1.0
    assert "more than linear" in said_of({1: 10.0, 8: 4.0, 32: 40.0}, 32)


def test_the_middle_of_each_size_counts() -> None:
    assert medians_of({8: [3.0, 1.0, 2.0], 1: [5.0]}) == {1: 5.0, 8: 2.0}


def test_a_batch_may_turn_upwards_but_not_cost_more_for_each() -> None:
    roofline = {1: 14.0, 2: 14.0, 4: 17.0, 8: 24.0, 16: 47.0, 32: 78.0}
    assert all(said_of(roofline, size, line=False) == "" for size in roofline)
    assert said_of(roofline, 16) != ""
    worse = {**roofline, 32: 120.0}
    told = beyond_linear(worse, 32, line=False)
    assert told == pytest.approx(120.0 / (32 * 47.0 / 16), rel=0.03)
    assert f"{told:.2f} times what it takes for each of fewer" in said_of(worse, 32, line=False)
    assert beyond_linear(roofline, 1, line=False) is None
