"""What one rank of a worker does with KV: the same code on the first rank and on those that follow its orders.

A `RankCarrier` has the rank's own KV memory and, on prefill, its endpoint and the links to each rank of each peer that
shares heads with it. A write that takes a rank's heads as they stand begins at once; one that needs a slice of them is
gathered into bounce memory first, on a thread of its own. How a write ended is told as a `Written`, once for each
`Write`. Knows no cores, no channels and no other rank of its worker.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from msgspec import structs

from ..errors import TransferError
from ..fences import Fences
from ..kv import KVCache
from ..log import record
from ..pages import Runs
from ..profiling_spans import Spans
from ..transfer.api import Endpoint, Link, Segment, Ticket, TicketState, TransferSettings
from ..transfer.heads import Part, Route, Spot, parts_of, plan_route, routes_of
from ..transfer.plan import merge_runs
from .gathering import Gathering
from .head_sums import HeadSums
from .joint import Done, Joint, failed, nothing
from .orders import (
    Close,
    Connect,
    Export,
    Import,
    Order,
    PeerRank,
    Report,
    Settle,
    Write,
    Written,
    as_runs,
)
from .shipment import RankPlace, Shipment

__all__ = ["RankCarrier"]

_GONE = "the peer has gone"


@dataclass(frozen=True, slots=True)
class _Lane:
    """A link to a rank of a peer, and what goes there.

    Attributes:
        is_whole: all of our heads go there as they stand.
        is_plain: they are all that the peer's rank has, too, so that pages mean the same on both sides.
    """

    route: Route
    link: Link
    is_whole: bool
    is_plain: bool


@dataclass(frozen=True, slots=True)
class _Peer:
    """Lanes by the peer's attention group; without any, why it cannot be reached.

    Attributes:
        own: our heads.
        heads: those of each rank of the peer's groups.
    """

    own: range
    heads: dict[int, list[range]]
    lanes: dict[int, tuple[_Lane, ...]]
    problem: str = ""

    @property
    def is_single(self) -> bool:
        """Whether it is one rank, and gets all of our heads, which are all that there are."""
        return [len(heads) for heads in self.heads.values()] == [1] and self.heads[0] == [self.own]

    @property
    def links(self) -> list[Link]:
        return list({id(lane.link): lane.link for lanes in self.lanes.values() for lane in lanes}.values())

    def close(self) -> None:
        for link in self.links:
            link.close()


class RankCarrier:
    """One rank's KV memory and its way to peers.

    Args:
        kv: the rank's own, with its heads alone.
        endpoint: where its staging memory is registered; None on a rank that writes to nobody.
        report: takes how the writes of `carry` ended; called on any thread, must not block.
        checks: check mode: checksums come with the ends of writes.
        max_segment: bytes of one segment.
        hard_timeout_s: after which a failed write provably reads no bounce memory any more.

    Attributes:
        noted: takes the time of each write while a profile is made.
    """

    def __init__(
        self,
        place: RankPlace,
        kv: KVCache,
        endpoint: Endpoint | None,
        report: Callable[[Report], None] | None = None,
        *,
        checks: bool = False,
        max_segment: int = 1 << 30,
        hard_timeout_s: float = TransferSettings().hard_timeout_s,
    ) -> None:
        self.place = place
        self.noted = Spans()
        self._kv = kv
        self._endpoint = endpoint
        self._report = report
        self._max_segment = max_segment
        self._hard_timeout_s = hard_timeout_s
        self._peers: dict[str, _Peer] = {}
        self._divided: set[str] = set()
        self._fences = Fences()
        self._lock = threading.Lock()
        self._gathering: Gathering | None = None
        self._keys = itertools.count(1)
        self._sums = HeadSums(kv, place.heads, place.part) if checks else None

    @property
    def bounce_in_use(self) -> int:
        """Heads of pages in bounce memory that somebody may still write or read."""
        return self._gathering.in_use if self._gathering is not None else 0

    def carry(self, order: Order) -> None:
        """Carries an order out; those for another attention group are passed over."""
        match order:
            case Connect(peer=peer, ranks=ranks):
                self.connect(peer, ranks)
            case Close(peer=peer):
                self.disconnect(peer)
            case Export(group=self.place.group, slot_page=slot_page, staging=staging):
                self._kv.export_pages(slot_page, as_runs(staging))
            case Import(group=self.place.group, slot_page=slot_page, staging=staging, peer=peer, granted=granted):
                runs = as_runs(staging), slot_page
                self._kv.import_pages(*runs, peer=peer, granted=as_runs(granted), first=order.first)
            case Write(group=self.place.group):
                assert self._report is not None
                self._write_fenced(order.ticket, Shipment.of(order), self._report)
            case Settle(group=self.place.group, ticket=ticket, peer=peer, granted=granted):
                assert self._report is not None
                sums = self.checksums(as_runs(granted), peer)
                self._report(structs.replace(nothing(ticket, self.place.rank), digest=sums))
            case _:
                pass

    def connect(self, peer: str, ranks: Sequence[PeerRank]) -> None:
        """A peer is there: opens links to its ranks, or, without an endpoint, learns how its pages are divided.

        A peer that the transport cannot reach is remembered with the reason: see `problem`.
        """
        groups: dict[int, list[PeerRank]] = {}
        for rank in ranks:
            groups.setdefault(rank.group, []).append(rank)
        heads = {group: [range(rank.first, rank.stop) for rank in members] for group, members in groups.items()}
        own = self.place.heads or (range(max(rank.stop for rank in ranks)),)
        if self._endpoint is None:
            self._divide(peer, parts_of(heads[min(heads)], own, self.place.part))  # its groups are alike
            return
        links: dict[tuple[int, int], Link] = {}
        lanes: dict[int, tuple[_Lane, ...]] = {}
        try:
            for group, members in groups.items():
                routes = routes_of(own, heads[group], self.place.part)
                for target in {route.target for route in routes}:
                    links[group, target] = self._endpoint.connect(members[target].endpoint)
                mine = own[self.place.part]
                lanes[group] = tuple(self._lane(route, links[group, route.target], mine) for route in routes)
        except TransferError as error:
            for link in links.values():
                link.close()
            self._peers[peer] = _Peer(own[self.place.part], heads, {}, str(error))
            record("link_failed", peer=peer, rank=self.place.rank, reason=str(error))
            return
        self._peers[peer] = _Peer(own[self.place.part], heads, lanes)

    def _divide(self, peer: str, parts: Sequence[Part]) -> None:
        if len(parts) > 1:
            self._divided.add(peer)
        elif peer in self._divided:  # the worker that answers there now has other ranks
            self._divided.remove(peer)
        else:
            return
        self._kv.divide(peer, tuple(len(part.heads) for part in parts))

    def _lane(self, route: Route, link: Link, own: range) -> _Lane:
        is_whole = route.heads == own
        return _Lane(route, link, is_whole, is_plain=is_whole and route.width == len(own))

    def problem(self, peer: str) -> str:
        """Returns why nothing can be written to a peer; empty when it can."""
        return _GONE if (known := self._peers.get(peer)) is None else known.problem

    def checksums(self, granted: Runs, peer: str) -> tuple[int, ...]:
        """Returns this rank's part of the checksums of granted pages; none outside check mode."""
        return self._sums.received(granted, peer) if self._sums is not None else ()

    def disconnect(self, peer: str) -> None:
        """A peer is gone: closes the links to it; what is under way fails."""
        if (known := self._peers.pop(peer, None)) is not None and known.links:
            # Closing waits for the write that runs, which a stopped peer may hold up until the transport's timeout.
            threading.Thread(target=known.close, name=f"close {peer}", daemon=True).start()

    def abandon(self) -> None:
        """Ends all links with what is under way; returns when nothing here is copied or written any more."""
        peers, self._peers = self._peers, {}
        for peer in peers.values():
            peer.close()
        self._fences.close()

    def close(self) -> None:
        """Ends all links; returns when nothing of ours is written any more."""
        self._fences.close()
        peers, self._peers = self._peers, {}
        for peer in peers.values():
            peer.close()

    def _write_fenced(self, ticket: int, shipment: Shipment, done: Done) -> None:
        """Writes pages that stand in staging, or will once the device has copied them."""
        # Of now: who is there when the device is done may have other memory at the same address.
        write = partial(self._write_to, self._peers.get(shipment.peer), ticket, shipment, done)
        if (ready := self._kv.fence()) is None:
            write()
            return
        broken = partial(failed, ticket, self.place.rank, quiet=True)
        self._fences.put(ready, write, lambda error: done(broken(error)))

    def write(self, ticket: int, shipment: Shipment, done: Done) -> None:
        """Begins to write pages that stand complete in staging; never raises for what a peer did.

        Args:
            ticket: another one for each write.
            done: called once, on a thread of the transport or at once.
        """
        self._write_to(self._peers.get(shipment.peer), ticket, shipment, done)

    def _write_to(self, peer: _Peer | None, ticket: int, shipment: Shipment, done: Done) -> None:
        if peer is None or peer.problem:
            done(failed(ticket, self.place.rank, _GONE if peer is None else peer.problem, quiet=True))
            return
        if self._sums is not None and (self.place.heads or not peer.is_single):
            heads = peer.heads.get(shipment.target_group, ())
            done = partial(_with_digest, done, self._sums.sent(shipment.staging, heads))
        lanes = peer.lanes.get(shipment.target_group)
        if lanes is None:
            problem = f"the peer has no attention group {shipment.target_group}"
            done(failed(ticket, self.place.rank, problem, quiet=True))
        elif not lanes:  # other ranks hold the same heads and send them
            done(nothing(ticket, self.place.rank))
        elif all(lane.is_whole for lane in lanes):
            self._begin(ticket, shipment, peer.own, lanes, done)
        else:
            self._begin_sliced(ticket, shipment, peer.own, lanes, done)

    def _begin_sliced(self, ticket: int, shipment: Shipment, own: range, lanes: Sequence[_Lane], done: Done) -> None:
        """Has the slices gathered and written elsewhere: it takes as long as the copy into staging did."""
        with self._lock:
            if self._gathering is None:
                self._gathering = Gathering(self._kv, self._hard_timeout_s)
        gathering, width = self._gathering, sum(len(lane.route.heads) for lane in lanes if not lane.is_whole)
        most = gathering.pages_at_once(width)
        # Halves, so that one is gathered while the other travels.
        pieces = shipment.cut(most if shipment.pages <= most else max(1, most // 2))
        ends = Joint.split(ticket, self.place.rank, len(pieces), done)
        for piece, end in zip(pieces, ends, strict=True):
            key = next(self._keys)

            def begin(piece: Shipment = piece, end: Done = end, key: int = key) -> None:
                gathering.await_room(piece.pages * width)
                self._begin(ticket, piece, own, lanes, partial(_freeing, gathering, key, end), key)

            self._fences.put(_stands, begin, _never)

    def _begin(
        self, ticket: int, shipment: Shipment, own: range, lanes: Sequence[_Lane], done: Done, key: int = 0
    ) -> None:
        ends = Joint.split(ticket, self.place.rank, len(lanes), done)
        for lane, end in zip(lanes, ends, strict=True):
            try:
                segments = self._segments(shipment, own, lane, key)
            except Exception as error:  # torch raises RuntimeError's kin where the device is broken
                end(failed(ticket, self.place.rank, f"the pages could not be gathered: {error}", quiet=True))
                continue
            begun = lane.link.write(segments, shipment.lease_until)
            begun.add_done_callback(partial(self._ended, ticket, len(segments), end))

    def _segments(self, shipment: Shipment, own: range, lane: _Lane, key: int) -> tuple[Segment, ...]:
        staging, kv, route = shipment.staging, self._kv, lane.route
        if lane.is_plain:
            return merge_runs(staging, shipment.target, kv.page_bytes, max_bytes=self._max_segment)
        spots: tuple[Spot, ...] = ()
        if not lane.is_whole and self._gathering is not None:
            heads = range(route.heads.start - own.start, route.heads.stop - own.start)
            spots = self._gathering.gather(key, staging, heads)
        most, cells = self._max_segment, kv.cells
        return plan_route(route, own, staging, shipment.granted, shipment.first, cells, spots, max_bytes=most)

    def _ended(self, ticket: int, writes: int, end: Done, begun: Ticket) -> None:
        """Runs on a thread of the transport."""
        self.noted.written(begun.seconds)
        ok, quiet = begun.state is TicketState.DONE, begun.quiesced
        end(Written(ticket, self.place.rank, ok, quiet, begun.error, begun.bytes, begun.seconds, writes))


def _with_digest(done: Done, digest: tuple[int, ...], written: Written) -> None:
    done(structs.replace(written, digest=digest))


def _freeing(gathering: Gathering, key: int, end: Done, written: Written) -> None:
    gathering.free(key, written)
    end(written)


def _stands() -> None:
    """What is gathered from stands complete already."""


def _never(error: str) -> None:
    raise AssertionError(error)
