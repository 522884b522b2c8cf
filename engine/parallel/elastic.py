"""A worker that goes on when one of its ranks is gone: what the first rank has the others do then.

Those that are left make a new process group under another number, take the shards of a model that is spread over so
many, with the lost rank's experts placed among them, and begin with empty KV memory; the core computes what was
running again. On a half of a pair each also closes the transport that peers know its memory by, and opens another one:
to them the worker is one that was restarted. All of it happens on the step loop's thread, between two passes or in
place of one that broke. `first_rank` makes it where `--elastic-ep-backend` asks for it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from torch._C._distributed_c10d import Store

from ..errors import PdpanelError, RankError
from ..log import record
from ..transfer.api import EndpointInfo
from .carrier import RankCarrier
from .frames import Form, Formed, Renew, Renewed
from .leader import Leader
from .meter import Meter
from .opening import RankParts, join_group, regrouped, renewed
from .placement import moves
from .ranks import Rank

__all__ = ["GroupTerms", "Recovery"]

_NEWS_S = 1.5
"""How long a group that could not be made waits to hear which other rank is gone."""
_END_S = 3.0
"""How long a process that was killed may take to end: until then it may write into a peer's memory."""


@dataclass(frozen=True, slots=True)
class GroupTerms:
    """What process groups of a worker have in common.

    Attributes:
        store: where the ranks find each other.
        host: address of the first rank.
        backend: of the collectives.
    """

    store: Store
    host: str
    backend: str


class Recovery:
    """The first rank's part.

    Args:
        parts: of the first rank.
        rank: the first rank, which goes on with what a new group gives it.

    Attributes:
        parts: as they are now.
        endpoints: those of the other ranks, since they made a group anew.
    """

    def __init__(self, parts: RankParts, rank: Rank, leader: Leader, terms: GroupTerms, meter: Meter) -> None:
        self.parts = parts
        self._rank = rank
        self._leader = leader
        self._terms = terms
        self._meter = meter
        self._generation = 0
        self.endpoints: dict[int, EndpointInfo | None] = {}

    def lost(self, rank: int, reason: str) -> None:
        """Takes note of a rank that is gone: makes sure of it, and ends the pass that waits for it; any thread."""
        record("rank_lost", level=logging.WARNING, rank=rank, reason=reason)
        self._leader.end(rank)
        self._rank.leave()

    def recover(self) -> bool:
        """Goes on with the ranks that are left; returns False when none is gone.

        Raises:
            RankError: they cannot make a group.
        """
        began, before, found = time.monotonic(), self.parts, False
        while lost := tuple(self._leader.lost):
            found = True
            self._regroup(lost)
        if found:
            after, old, new = self.parts, before.placement, self.parts.placement
            record(
                "regrouped",
                level=logging.WARNING,
                generation=self._generation,
                ranks=after.ranks,
                experts_moved=moves(old, new) if old is not None and new is not None else 0,
                seconds=round(time.monotonic() - began, 3),
            )
        return found

    def _regroup(self, lost: tuple[int, ...]) -> None:
        """Makes a group without `lost`; another rank that is lost meanwhile is left for the next try."""
        for rank in lost:
            self._leader.drop(rank)
        self._rank.leave()
        if self.parts.selection is not None and not all([self._leader.has_ended(rank, _END_S) for rank in lost]):
            raise RankError(f"A lost rank's process did not end within {_END_S:g} s.")
        self._generation += 1
        self.parts = regrouped(self.parts, tuple(rank for rank in self.parts.ranks if rank not in lost))
        form = Form(self._generation, self.parts.ranks, self._terms.backend)
        try:
            self._leader.tell(Renew(form.generation, form.ranks))
            carrier = self._rank.carrier
            self.parts = renewed(self.parts, carrier if isinstance(carrier, RankCarrier) else None)
            others = self._leader.await_all(Renewed, lambda said: said.generation == form.generation)
            # Only now: who waits for a rank in a group that is made hears nothing of its end.
            self._leader.tell(form)
            made = join_group(self.parts, self._terms.store, form, self._terms.host, self._meter, self._leader.report)
            self._leader.await_all(Formed, lambda said: said.generation == form.generation)
        except PdpanelError as error:
            if not self._leader.gone(_NEWS_S):
                raise RankError(str(error)) from None
            return
        self.endpoints = {rank: said.endpoint for rank, said in others.items()}
        self._rank.take_over(made)
