"""Prefill's dealings with decode workers: from a core's messages and pages to channels and links, and back.

`PrefillExchange` is the outlet of the step loop for everything that leaves the process. It translates and measures;
what to do is the core's business, and how the ranks of the worker write is their carriers'.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from collections.abc import Sequence as Many
from functools import partial
from typing import TYPE_CHECKING

from .actions import Action, ExportPages, SendAbort, SendCommit, SendDrained, WritePages
from .failpoints import NO_FAILPOINTS, Failpoints
from .fences import Fences
from .kv import KVCache
from .lifecycle import State
from .log import record
from .metrics import EngineMetrics
from .outgoing import Outgoing
from .page_checks import PageDigests, pages_of
from .parallel.carrier import RankCarrier
from .parallel.carriers import WorkerCarrier
from .parallel.orders import Written
from .parallel.shipment import RankPlace, Shipment
from .peer.messages import Abort, Ack, Arrived, Commit, Drained, Grant, Hello, Message
from .peer.server import PeerServer, topology
from .profiling_spans import Spans
from .sequence import Sequence
from .transfer.api import Endpoint

if TYPE_CHECKING:
    from .cores import PrefillSide

__all__ = ["PrefillExchange"]

_GIVEN_UP = (State.DRAINING, State.CLOSED)

Post = Callable[[Callable[[float], None]], None]


class PrefillExchange:
    """Prefill's side: grants in, pages and commits out.

    Args:
        endpoint: of a worker of one rank, with `max_segment`, the bytes of one segment of a write.
        digests: check mode: makes the checksums that travel with commits.
        carrier: the ranks of the worker; None for one that has `kv` and `endpoint` alone.
    """

    def __init__(
        self,
        core: PrefillSide,
        post: Post,
        kv: KVCache,
        endpoint: Endpoint,
        metrics: EngineMetrics,
        max_segment: int,
        failpoints: Failpoints = NO_FAILPOINTS,
        digests: PageDigests | None = None,
        carrier: WorkerCarrier | None = None,
    ) -> None:
        self._failpoints = failpoints
        self._digests = digests
        self._core = core
        self._post = post
        self._kv = kv
        if carrier is None:
            checks = digests is not None
            carrier = WorkerCarrier(RankCarrier(RankPlace(), kv, endpoint, checks=checks, max_segment=max_segment))
        self._carrier = carrier
        self._metrics = metrics
        self._epochs: dict[str, int] = {}
        self._sent: dict[int, Outgoing] = {}
        self._fences = Fences()
        self._loop = asyncio.get_running_loop()
        self.server: PeerServer | None = None
        self.on_lost: Callable[[str, str], None] = lambda peer, reason: None

    @property
    def open_sends(self) -> int:
        """Rooms of which something was sent, and orders that not all ranks have answered."""
        return len(self._sent) + self._carrier.tickets

    @property
    def bounce_in_use(self) -> int:
        """Heads of pages in the first rank's bounce memory that somebody may still write or read."""
        return self._carrier.bounce_in_use

    def leave(self, reason: str) -> None:
        """Ends what decode workers have with this one, until `come_back`; on the event loop."""
        assert self.server is not None
        self.server.leave(reason)
        for sent in self._sent.values():
            sent.end()
        self._sent.clear()

    def come_back(self, hello: Hello, http_port: int) -> None:
        """Takes decode workers again, as another process at this address would; on the event loop."""
        assert self.server is not None
        self.server.come_back(hello, topology(hello, http_port))

    def note(self, noted: Spans) -> None:
        """Has writes noted while a profile is made."""
        self._carrier.note(noted)

    def export(self, action: ExportPages | WritePages) -> None:
        """Starts writing pages that stand in staging, or will once the device has copied them."""
        sent = self._outgoing(action.sequence)
        place = sent.begin(sum(run.count for run in action.staging))
        if self._carrier.has_followers or (ready := self._kv.fence()) is None:
            self._write(action, sent, place)
        else:
            self._fences.put(ready, partial(self._write, action, sent, place), partial(self._unwritten, action, sent))

    def _outgoing(self, sequence: Sequence) -> Outgoing:
        room, peer = sequence.room, sequence.peer
        return self._sent.setdefault(room, Outgoing(room, peer, self._tell_of))

    def _unwritten(self, action: ExportPages | WritePages, sent: Outgoing, error: str) -> None:
        sent.failed()
        ended = partial(self._core.write_done, action.sequence, ok=False, quiet=True, error=error)
        self._post(lambda now: ended(now=now))

    def _write(self, action: ExportPages | WritePages, sent: Outgoing, place: int) -> None:
        sequence = action.sequence
        if problem := self._carrier.problem(sequence.peer):
            # The peer left while the step ran, and peer_lost is in the mailbox already; or it was out of reach before.
            self._unwritten(action, sent, problem)
            return
        if sequence.state in _GIVEN_UP:  # while the device copied: the worker that is connected now may be another one
            self._unwritten(action, sent, "the request was given up")
            return
        if not sent.begun:
            sent.begun = True
            self._failpoints.hit("prefill.before_first_write")
        if self._digests is not None and self._carrier.is_plain(sequence.peer):
            sent.digests.update(self._digests.written(action.staging, action.target))
        groups, target, granted = (sequence.group, sequence.target_group), action.target, sequence.target
        runs = action.staging, target, granted, action.first
        shipment = Shipment(sequence.peer, *groups, *runs, sequence.lease_until)
        self._carrier.write(shipment, partial(self._written, action, sent, place))
        self._failpoints.hit("prefill.while_writing")

    def _written(self, action: ExportPages | WritePages, sent: Outgoing, place: int, written: Written) -> None:
        """Runs on a thread of the transport."""
        sequence = action.sequence
        ok, quiet, error = written.ok, written.quiet, written.error
        # Before the commit can leave: its acknowledgement must not overtake this.
        self._post(lambda now: self._core.write_done(sequence, ok=ok, quiet=quiet, error=error, now=now))
        if not ok:
            sent.failed()
            return
        if written.digest and not self._carrier.is_plain(sequence.peer):
            sent.digests.update(zip(pages_of(action.target), written.digest, strict=True))
        pages, size, writes = sum(run.count for run in action.staging), written.bytes, written.writes
        self._metrics.kv_moved(direction="sent", peer=sequence.peer, size=size, pages=pages, writes=writes)
        sent.done(place, pages=pages, writes=writes, size=size, seconds=written.seconds)

    def _tell_of(self, sent: Outgoing, message: Arrived | Commit) -> None:
        if isinstance(message, Commit):
            self._metrics.transfer_ended(
                direction="sent", peer=sent.peer, size=message.bytes, seconds=sent.seconds, ok=True
            )
            self._failpoints.hit("prefill.before_commit")
        self._tell(sent.peer, message)

    def send(self, action: Action) -> None:
        """Sends a message to a decode worker."""
        match action:
            case SendCommit(sequence=sequence, first_token=token, again=again):
                if not again:
                    sent = self._outgoing(sequence)
                    sent.prompt_done_at = sequence.prompt_done_at
                    own = sequence.scores.tokens[0] if sequence.scores is not None else None
                    cached = sequence.cached_tokens
                    sent.commit(Commit(sent.room, token, 0, 0, 0, cached_tokens=cached, logprobs=own), sequence.target)
                elif (known := self._sent.get(sequence.room)) is not None and (message := known.again()) is not None:
                    record("commit_again", peer=sequence.peer, room=sequence.room)
                    self._tell(sequence.peer, message)
            case SendAbort(peer=peer, room=room, reason=reason):
                if (given_up := self._sent.pop(room, None)) is not None:
                    given_up.end()
                    self._metrics.transfer_ended(direction="sent", peer=peer, size=0, seconds=0.0, ok=False)
                self._tell(peer, Abort(room, reason))
            case SendDrained(peer=peer, room=room):
                if (given_up := self._sent.pop(room, None)) is not None:
                    given_up.end()
                self._tell(peer, Drained(room))

    def _tell(self, peer: str, message: Message) -> None:
        assert self.server is not None
        self._loop.call_soon_threadsafe(self.server.send, peer, message)

    def peer_joined(self, peer: str, hello: Hello) -> None:
        """A decode worker connected: opens the links to its staging memory."""
        record("peer_joined", peer=peer, epoch=hello.epoch, transport=hello.endpoint.kind)
        epoch = self._epochs.get(peer)
        self._epochs[peer] = hello.epoch
        if epoch is None:
            self._carrier.connect(peer, hello.all_ranks)
            return
        if epoch != hello.epoch:
            self._post(lambda now: self._core.peer_replaced(peer, now))
        # On the loop: what the connection before had granted is given up there first, and must not be written here.
        self._post(lambda now: self._carrier.connect(peer, hello.all_ranks))

    def peer_said(self, peer: str, message: Message) -> None:
        """Takes a message of a decode worker to the core."""
        match message:
            case Grant(room=room, lease_until=lease_until, group=group):
                pages = message.pages
                self._post(lambda now: self._core.grant(peer, room, pages, lease_until, now, group=group))
                self._failpoints.hit("prefill.after_grant")
            case Ack(room=room, known=known):
                if known:
                    self._failpoints.hit("prefill.after_commit")
                if (sent := self._sent.get(room)) is not None and sent.peer == peer:
                    del self._sent[room]
                    if known and sent.prompt_done_at:
                        self._metrics.kv_waited(time.monotonic() - sent.prompt_done_at)
                self._post(lambda now: self._core.acknowledged(peer, room, known, now))
            case Abort(room=room, reason=reason):
                self._post(lambda now: self._core.peer_aborted(peer, room, reason, now))
            case _:
                record("stray_message", peer=peer, message=type(message).__name__)

    def peer_lost(self, peer: str, reason: str, unsent: Many[Message] = ()) -> None:
        """A decode worker is gone: closes its links and gives its rooms up."""
        record("peer_lost", level=logging.WARNING, peer=peer, reason=reason)
        self._carrier.disconnect(peer)
        self._post(lambda now: self._lose(peer, reason, now))
        self.on_lost(peer, reason)

    def _lose(self, peer: str, reason: str, now: float) -> None:
        self._carrier.disconnect(peer)  # to which the loop may have connected only now
        self._core.peer_lost(peer, reason, now)

    async def stop(self) -> None:
        """Ends links, then channels: who takes over the port must not find this process still writing."""
        await asyncio.to_thread(self._fences.close)
        await asyncio.to_thread(self._carrier.close)
        if self.server is not None:
            await self.server.stop()
