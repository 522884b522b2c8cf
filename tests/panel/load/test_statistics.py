from __future__ import annotations

from itertools import pairwise

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.load.statistics import CURVE_POINTS, curve, quantile, spread

TIMES = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=60)


@given(TIMES, st.floats(0, 1))
def test_a_quantile_is_numpys(values: list[float], part: float) -> None:
    assert quantile(sorted(values), part) == pytest.approx(numpy.quantile(values, part), rel=1e-9, abs=1e-9)


@given(TIMES)
def test_a_spread_is_numpys(values: list[float]) -> None:
    found = spread(values)
    assert found is not None
    assert found.mean == pytest.approx(numpy.mean(values), rel=1e-9, abs=1e-9)
    wanted = numpy.percentile(values, [50, 90, 99, 100])
    assert [found.p50, found.p90, found.p99, found.largest] == pytest.approx(list(wanted), rel=1e-9, abs=1e-9)


@given(TIMES)
def test_a_curve_rises_from_the_least_to_the_largest(values: list[float]) -> None:
    points = curve(values)
    assert len(points) == CURVE_POINTS
    assert (points[0], points[-1]) == (min(values), max(values))
    assert all(one <= two + 1e-9 * max(values) for one, two in pairwise(points))


def test_of_nothing_there_is_nothing() -> None:
    assert spread([]) is None
    assert curve([]) == ()
