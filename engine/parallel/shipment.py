"""Where a rank stands in its worker, and what it is asked to write: the values that carriers work with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..pages import Runs
from ..transfer.plan import slice_runs
from .layout import RankShard
from .orders import Write, as_page_runs, as_runs

__all__ = ["RankPlace", "Shipment"]


@dataclass(frozen=True, slots=True)
class RankPlace:
    """Where a rank stands in its worker; the default is the only rank of one.

    Attributes:
        rank: of the worker.
        group: its attention group.
        part: its index in the group.
        heads: KV heads of each rank of the group; empty where the only rank has all.
    """

    rank: int = 0
    group: int = 0
    part: int = 0
    heads: tuple[range, ...] = ()

    @classmethod
    def of(cls, shards: Sequence[RankShard], rank: int, number: int | None = None) -> RankPlace:
        """Returns the place of a rank of a worker that is spread so.

        Args:
            number: of the rank in its worker, where others before it are gone.
        """
        group = [shard for shard in shards if shard.group == shards[rank].group]
        part = next(part for part, shard in enumerate(group) if shard.rank == rank)
        heads = tuple(shard.kv_heads for shard in group)
        return cls(rank if number is None else number, shards[rank].group, part, heads)


@dataclass(frozen=True, slots=True)
class Shipment:
    """What is to be written: a `Write` order as values of this process.

    Attributes:
        target: the granted pages that `staging` is for; `first` pages on from the beginning of `granted`.
    """

    peer: str
    group: int
    target_group: int
    staging: Runs
    target: Runs
    granted: Runs
    first: int
    lease_until: float

    @classmethod
    def of(cls, order: Write) -> Shipment:
        """Returns what an order asks for."""
        staging, granted = as_runs(order.staging), as_runs(order.granted)
        target = slice_runs(granted, order.first, sum(run.count for run in staging))
        peer, groups, lease = order.peer, (order.group, order.target_group), order.lease_until
        return cls(peer, *groups, staging, target, granted, order.first, lease)

    def cut(self, pages: int) -> tuple[Shipment, ...]:
        """Returns it in pieces of so many pages at most, in order."""
        return tuple(
            replace(
                self,
                staging=slice_runs(self.staging, done, pages),
                target=slice_runs(self.target, done, pages),
                first=self.first + done,
            )
            for done in range(0, self.pages, pages)
        )

    @property
    def pages(self) -> int:
        """How many they are."""
        return sum(run.count for run in self.staging)

    def order(self, ticket: int) -> Write:
        """Returns the order for it."""
        runs = as_page_runs(self.staging), as_page_runs(self.granted)
        return Write(ticket, self.peer, self.group, self.target_group, *runs, self.first, self.lease_until)
