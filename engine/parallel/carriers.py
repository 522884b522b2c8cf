"""All ranks of a worker, as the exchanges on its first rank see them: one peer to connect to, one write, one end.

A worker of one rank has no orders and nobody to listen to: what it is asked for goes straight to its own carrier. Else
every order is sent to the followers and carried out here, too, and a write has ended when each rank of its attention
group has said so. Knows no processes: `ranks` has the seam to them.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from functools import partial

from ..errors import RankError
from ..pages import Runs
from ..profiling_spans import Spans
from .carrier import RankCarrier
from .joint import Done, Joint, failed
from .orders import Close, Connect, Order, PeerRank, Settle, Write, Written, as_page_runs
from .ranks import Orders, Reports
from .shipment import Shipment

__all__ = ["WorkerCarrier"]


class WorkerCarrier:
    """The ranks of one worker.

    Args:
        own: the first rank's.
        groups: the ranks of each attention group.
        orders: to the followers; None for a worker of one rank.
        reports: where `own` reports, too; None for a worker of one rank.
    """

    def __init__(
        self,
        own: RankCarrier,
        groups: Sequence[Sequence[int]] = ((0,),),
        orders: Orders | None = None,
        reports: Reports | None = None,
    ) -> None:
        assert (orders is None) is (reports is None)
        self._own = own
        self._groups = groups
        self._orders = orders
        self._reports = reports
        self._tickets = itertools.count(1)
        self._joints: dict[int, Joint] = {}
        self._sizes: dict[str, int] = {}  # of peers, in ranks
        self._lock = threading.Lock()

    @property
    def has_followers(self) -> bool:
        """Whether there are other ranks: then each waits for its own device before it writes."""
        return self._orders is not None

    @property
    def bounce_in_use(self) -> int:
        """Heads of pages in the first rank's bounce memory that somebody may still write or read."""
        return self._own.bounce_in_use

    @property
    def tickets(self) -> int:
        """Orders that not all ranks have answered."""
        return len(self._joints)

    def note(self, noted: Spans) -> None:
        """Has the first rank's writes noted while a profile is made."""
        self._own.noted = noted

    def problem(self, peer: str) -> str:
        """Returns why the first rank cannot write to a peer; empty when it can."""
        return self._own.problem(peer)

    def is_plain(self, peer: str) -> bool:
        """Returns whether pages mean the same on both sides: one rank here, and one there."""
        return sum(map(len, self._groups)) == 1 and self._sizes.get(peer, 1) == 1

    def connect(self, peer: str, ranks: tuple[PeerRank, ...]) -> None:
        """A peer is there, with these ranks."""
        self._sizes[peer] = len(ranks)
        self._send(Connect(peer, ranks))
        self._own.connect(peer, ranks)

    def disconnect(self, peer: str) -> None:
        """A peer is gone."""
        self._send(Close(peer))
        self._own.disconnect(peer)

    def _send(self, order: Order) -> str:
        """Returns which rank is gone; the worker is about to end then, or to go on without it."""
        try:
            if self._orders is not None:
                self._orders.send(order)
        except RankError as error:
            return str(error)
        return ""

    def write(self, shipment: Shipment, done: Done) -> None:
        """Begins a write; `done` takes its joint end, once, on any thread."""
        ticket = next(self._tickets)
        if self._orders is None:
            self._own.write(ticket, shipment, done)
        else:
            self._jointly(ticket, shipment.group, shipment.order(ticket), done)

    def when_settled(self, group: int, then: Callable[[], None]) -> None:
        """Has `then` called once the ranks of a group have carried out all orders so far; at once without followers."""
        if self._orders is None:
            then()
        else:
            ticket = next(self._tickets)
            self._jointly(ticket, group, Settle(ticket, group), lambda written: then())

    def checksums(self, group: int, peer: str, granted: Runs, then: Callable[[tuple[int, ...] | None], None]) -> None:
        """Check mode: has `then` called with the checksums of granted pages, of all ranks that they lie on.

        None instead when one of these is gone.
        """
        if self._orders is None:
            then(self._own.checksums(granted, peer))
        else:
            ticket = next(self._tickets)
            order = Settle(ticket, group, peer, as_page_runs(granted))
            self._jointly(ticket, group, order, lambda written: then(written.digest if written.ok else None))

    def _jointly(self, ticket: int, group: int, order: Write | Settle, done: Done) -> None:
        assert self._reports is not None
        joint = Joint(ticket, 0, self._groups[group], partial(self._ended, done))
        with self._lock:
            self._joints[ticket] = joint
        self._reports.listen(ticket, lambda written: joint.add(written.rank, written))
        gone = self._send(order)
        self._own.carry(order)
        for rank in self._groups[group] if gone else ():  # some of them may have heard of it
            if rank != self._own.place.rank:
                joint.add(rank, failed(ticket, rank, gone, quiet=False))

    def _ended(self, done: Done, written: Written) -> None:
        with self._lock:
            self._joints.pop(written.ticket, None)
        if self._reports is not None:
            self._reports.forget(written.ticket)
        done(written)

    def renew(self, own: RankCarrier, groups: Sequence[Sequence[int]]) -> None:
        """Goes on with other ranks and other memory; nothing of the old ones is copied or written any more."""
        members = [rank for group in self._groups for rank in group]
        own.noted = self._own.noted
        self._own, self._groups = own, groups
        self._sizes.clear()
        with self._lock:
            joints = dict(self._joints)
        for ticket, joint in joints.items():
            for rank in members:
                joint.add(rank, failed(ticket, rank, "the worker has lost a rank", quiet=True))

    def lost(self, rank: int) -> None:
        """A rank has died: what it had begun may still be under way, and nobody will tell how it ends."""
        with self._lock:
            joints = dict(self._joints)
        for ticket, joint in joints.items():
            joint.add(rank, failed(ticket, rank, f"rank {rank} has died", quiet=False))

    def close(self) -> None:
        """Ends the first rank's links; returns when nothing of it is written any more. Followers end by themselves."""
        self._own.close()
