from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.panel.planning.gpu_pool import GpuPool

pools = st.tuples(st.integers(0, 16), st.frozensets(st.integers(0, 15), max_size=12), st.integers(1, 9))


@settings(deadline=None)
@given(pools)
def test_the_first_free_neighbours_are_found_where_there_are_any(case: tuple[int, frozenset[int], int]) -> None:
    total, given_out, count = case
    pool = GpuPool(total)
    pool.give(sorted(given_out), "other")
    runs = [tuple(range(first, first + count)) for first in range(total - count + 1)]
    free = [run for run in runs if not set(run) & given_out]
    assert pool.neighbours(count) == (free[0] if free else None)
    left = [gpu for gpu in range(total) if gpu not in given_out]
    assert pool.any_free(count) == (tuple(left[:count]) if len(left) >= count else None)


@settings(deadline=None)
@given(st.frozensets(st.integers(0, 15)), st.integers(1, 9))
def test_a_machine_of_unknown_size_always_has_some(given_out: frozenset[int], count: int) -> None:
    pool = GpuPool(None)
    pool.give(sorted(given_out), "other")
    found = pool.neighbours(count)
    assert found is not None and pool.owner(found) is None
    assert pool.any_free(count) == found
    assert pool.left is None and pool.exists([10**6])


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), unique=True), st.frozensets(st.integers(0, 9)), st.integers(1, 4))
def test_listed_gpus_come_in_their_order_or_side_by_side(
    allowed: list[int], given_out: frozenset[int], count: int
) -> None:
    pool = GpuPool(10)
    pool.give(sorted(given_out), "other")
    free = [gpu for gpu in allowed if gpu not in given_out]
    assert pool.among(allowed, count, side_by_side=False) == (tuple(free[:count]) if len(free) >= count else None)
    beside = pool.among(allowed, count, side_by_side=True)
    runs = [tuple(range(first, first + count)) for first in range(10) if set(range(first, first + count)) <= set(free)]
    assert beside == (runs[0] if runs else None)
