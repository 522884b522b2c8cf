"""Which expert is on which rank, and where the experts of ranks that are gone go.

Pure. Every expert is somewhere once, and no rank has more than one more than another. The experts of a model are the
same numbers in every layer, so one placement serves all layers. Asked when ranks load weights and when one is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .layout import part_of

__all__ = ["Placement", "moves", "owners", "placed_again", "renumbered", "spread"]

Placement = Mapping[int, tuple[int, ...]]
"""The experts of each rank, ascending."""


def spread(experts: int, ranks: int) -> Placement:
    """Returns the placement to begin with: neighbours together, as `layout.RankShard` has them."""
    return {rank: tuple(part_of(experts, ranks, rank)) for rank in range(ranks)}


def placed_again(placement: Placement, gone: Collection[int]) -> Placement:
    """Returns where the experts are once ranks are gone: what stays where it is, stays, as far as balance permits.

    Args:
        placement: before.
        gone: ranks that have no memory any more; at least one other stays.
    """
    kept = {rank: list(experts) for rank, experts in sorted(placement.items()) if rank not in gone}
    homeless = sorted(expert for rank, experts in placement.items() if rank in gone for expert in experts)
    total = sum(len(experts) for experts in placement.values())
    share, extra = divmod(total, len(kept))
    # Those that have most keep most: it is they who would have to give some away.
    by_load = sorted(kept, key=lambda rank: -len(kept[rank]))
    quotas = {rank: share + (place < extra) for place, rank in enumerate(by_load)}
    for rank, experts in kept.items():
        homeless += experts[quotas[rank] :]
        del experts[quotas[rank] :]
    waiting = iter(homeless)
    for rank, experts in kept.items():
        experts += [next(waiting) for _ in range(quotas[rank] - len(experts))]
    return {rank: tuple(sorted(experts)) for rank, experts in kept.items()}


def renumbered(placement: Placement) -> Placement:
    """Returns the placement of the same ranks, numbered without gaps."""
    return {number: placement[rank] for number, rank in enumerate(sorted(placement))}


def owners(placement: Placement) -> Sequence[int]:
    """Returns the rank of each expert."""
    found = {expert: rank for rank, experts in placement.items() for expert in experts}
    return [found[expert] for expert in range(len(found))]


def moves(before: Placement, after: Placement) -> int:
    """Returns how many experts a rank has afterwards that it had not before, which it has to load."""
    return sum(len(set(experts) - set(before.get(rank, ()))) for rank, experts in after.items())
