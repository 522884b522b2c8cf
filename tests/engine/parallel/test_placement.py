"""Placements: every expert somewhere once, evenly, and as few of them moved as can be when ranks are gone."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.parallel.placement import Placement, moves, owners, placed_again, renumbered, spread


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    """Any placement, even or not, whose ranks need not be numbered without gaps."""
    experts = draw(st.permutations(range(draw(st.integers(1, 24)))))
    ranks = draw(st.lists(st.integers(0, 20), min_size=2, max_size=6, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, len(experts)), min_size=len(ranks) - 1, max_size=len(ranks) - 1)))
    parts = zip([0, *cuts], [*cuts, len(experts)], strict=True)
    return {rank: tuple(sorted(experts[start:stop])) for rank, (start, stop) in zip(ranks, parts, strict=True)}


def is_whole_and_even(placement: Placement, experts: int) -> bool:
    counts = [len(part) for part in placement.values()]
    everything = sorted(expert for part in placement.values() for expert in part)
    return everything == list(range(experts)) and max(counts) - min(counts) <= 1


def fewest_moves(counts: list[int], experts: int) -> int:
    """Tries every choice of the ranks that have one more."""
    share, extra = divmod(experts, len(counts))
    return min(
        sum(max(0, share + (place in more) - count) for place, count in enumerate(counts))
        for more in combinations(range(len(counts)), extra)
    )


@given(st.integers(1, 64), st.integers(1, 16))
def test_at_first_every_expert_is_somewhere(experts: int, ranks: int) -> None:
    placement = spread(experts, ranks)
    assert is_whole_and_even(placement, experts)
    assert [placement[rank] for rank in sorted(placement)] == [placement[rank] for rank in range(ranks)]
    assert [owners(placement)[expert] for part in placement.values() for expert in part] == [
        rank for rank, part in placement.items() for _ in part
    ]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_left_is_placed_evenly_with_the_fewest_moves(data: st.DataObject) -> None:
    before = data.draw(placements())
    gone = data.draw(st.sets(st.sampled_from(sorted(before)), max_size=len(before) - 1))
    experts = sum(len(part) for part in before.values())
    after = placed_again(before, gone)
    assert set(after) == set(before) - gone
    assert is_whole_and_even(after, experts)
    assert all(part == tuple(sorted(part)) for part in after.values())
    assert moves(before, after) == fewest_moves([len(before[rank]) for rank in sorted(after)], experts)
    assert renumbered(after) == dict(enumerate(after[rank] for rank in sorted(after)))


def test_a_lost_rank_of_an_even_worker_moves_its_own_experts_alone() -> None:
    before = spread(8, 4)
    after = placed_again(before, {2})
    assert after == {0: (0, 1, 4), 1: (2, 3, 5), 3: (6, 7)}
    assert moves(before, after) == 2
    assert list(owners(renumbered(after))) == [0, 0, 1, 1, 0, 1, 2, 2]
