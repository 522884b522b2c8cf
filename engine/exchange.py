"""The two halves' dealings with each other: from a core's messages and pages to channels and links, and back.

`PrefillExchange` and `DecodeExchange` are the outlets of the step loop for everything that leaves the process. They
translate and measure; what to do is the cores' business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .actions import Action, ExportPages, SendAbort, SendAck, SendCommit, SendDrained, SendGrant
from .decode_core import DecodeCore
from .errors import TransferError
from .kv import KVCache
from .log import record
from .metrics import EngineMetrics
from .peer.client import PeerClient
from .peer.messages import Abort, Ack, Commit, Drained, Grant, Hello, Message
from .peer.server import PeerServer
from .prefill_core import PrefillCore
from .transfer.api import Endpoint, Link, Ticket, TicketState
from .transfer.plan import merge_runs

__all__ = ["DecodeExchange", "PrefillExchange"]

Post = Callable[[Callable[[float], None]], None]


@dataclass(slots=True)
class _Sent:
    """What one room has sent so far; `seconds` is the time in writes, without the computing between them."""

    seconds: float = 0.0
    size: int = 0
    pages: int = 0
    writes: int = 0


class PrefillExchange:
    """Prefill's side: grants in, pages and commits out."""

    def __init__(
        self,
        core: PrefillCore,
        post: Post,
        kv: KVCache,
        endpoint: Endpoint,
        metrics: EngineMetrics,
        max_segment: int,
    ) -> None:
        self._core = core
        self._post = post
        self._kv = kv
        self._endpoint = endpoint
        self._metrics = metrics
        self._max_segment = max_segment
        self._links: dict[str, Link] = {}
        self._sent: dict[int, _Sent] = {}
        self._loop = asyncio.get_running_loop()
        self.server: PeerServer | None = None

    def export(self, action: ExportPages) -> None:
        """Starts writing pages that stand in staging."""
        sequence = action.sequence
        segments = merge_runs(action.staging, action.target, self._kv.page_bytes, max_bytes=self._max_segment)
        link = self._links.get(sequence.peer)
        if link is None:  # the peer left while the step ran; peer_lost is in the mailbox already
            ended = partial(self._core.write_done, sequence, ok=False, quiet=True, error="the peer has gone")
            self._post(lambda now: ended(now=now))
            return
        self._sent.setdefault(sequence.room, _Sent())
        pages = sum(run.count for run in action.staging)
        link.write(segments).add_done_callback(partial(self._written, action, pages, len(segments)))

    def _written(self, action: ExportPages, pages: int, writes: int, ticket: Ticket) -> None:
        """Runs on a thread of the transport."""
        sequence = action.sequence
        ok = ticket.state is TicketState.DONE
        if ok:
            if (sent := self._sent.get(sequence.room)) is not None:
                sent.seconds += ticket.seconds
                sent.size += ticket.bytes
                sent.pages += pages
                sent.writes += writes
            peer = sequence.peer
            self._metrics.kv_moved(direction="sent", peer=peer, size=ticket.bytes, pages=pages, writes=writes)
        quiet, error = ticket.quiesced, ticket.error
        self._post(lambda now: self._core.write_done(sequence, ok=ok, quiet=quiet, error=error, now=now))

    def send(self, action: Action) -> None:
        """Sends a message to a decode worker."""
        match action:
            case SendCommit(sequence=sequence, first_token=token):
                sent = self._sent.pop(sequence.room, _Sent())
                self._metrics.transfer_ended(
                    direction="sent", peer=sequence.peer, size=sent.size, seconds=sent.seconds, ok=True
                )
                message = Commit(sequence.room, token, sent.pages, sent.size, sent.writes)
                self._tell(sequence.peer, message)
            case SendAbort(peer=peer, room=room, reason=reason):
                if self._sent.pop(room, None) is not None:
                    self._metrics.transfer_ended(direction="sent", peer=peer, size=0, seconds=0.0, ok=False)
                self._tell(peer, Abort(room, reason))
            case SendDrained(peer=peer, room=room):
                self._sent.pop(room, None)
                self._tell(peer, Drained(room))

    def _tell(self, peer: str, message: Message) -> None:
        assert self.server is not None
        self._loop.call_soon_threadsafe(self.server.send, peer, message)

    def peer_joined(self, peer: str, hello: Hello) -> None:
        """A decode worker connected: opens the link to its staging memory."""
        record("peer_joined", peer=peer, epoch=hello.epoch, transport=hello.endpoint.kind)
        try:
            self._links[peer] = self._endpoint.connect(hello.endpoint)
        except TransferError as error:
            record("link_failed", peer=peer, reason=str(error))

    def peer_said(self, peer: str, message: Message) -> None:
        """Takes a message of a decode worker to the core."""
        match message:
            case Grant(room=room, lease_until=lease_until):
                pages = message.pages
                self._post(lambda now: self._core.grant(peer, room, pages, lease_until, now))
            case Ack(room=room, known=known):
                self._post(lambda now: self._core.acknowledged(peer, room, known, now))
            case Abort(room=room, reason=reason):
                self._post(lambda now: self._core.peer_aborted(peer, room, reason, now))
            case _:
                record("stray_message", peer=peer, message=type(message).__name__)

    def peer_lost(self, peer: str, reason: str) -> None:
        """A decode worker is gone: closes its link and gives its rooms up."""
        record("peer_lost", peer=peer, reason=reason)
        if (link := self._links.pop(peer, None)) is not None:
            self._loop.run_in_executor(None, link.close)
        self._post(lambda now: self._core.peer_lost(peer, reason, now))

    async def stop(self) -> None:
        """Ends channels and links."""
        if self.server is not None:
            await self.server.stop()
        for link in self._links.values():
            await asyncio.to_thread(link.close)


class DecodeExchange:
    """Decode's side: grants out, commits in."""

    def __init__(self, core: DecodeCore, post: Post, kv: KVCache, metrics: EngineMetrics) -> None:
        self._core = core
        self._post = post
        self._kv = kv
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._addresses: dict[str, str] = {}  # bootstrap address -> HTTP address, which names the worker in metrics
        self._epochs: dict[str, int] = {}
        self.client: PeerClient | None = None

    def export(self, action: ExportPages) -> None:
        """Decode exports nothing."""
        raise AssertionError("a decode worker has nothing to export")

    def send(self, action: Action) -> None:
        """Sends a message to a prefill worker."""
        match action:
            case SendGrant(sequence=sequence):
                runs = tuple((run.start, run.count) for run in sequence.staging)
                self._tell(sequence.peer, Grant(sequence.room, runs, sequence.prefill_tokens, sequence.deadline))
            case SendAck(peer=peer, room=room, known=known):
                self._tell(peer, Ack(room, known))
            case SendAbort(peer=peer, room=room, reason=reason):
                self._tell(peer, Abort(room, reason))

    def _tell(self, peer: str, message: Message) -> None:
        assert self.client is not None
        self._loop.call_soon_threadsafe(self.client.send, peer, message)

    def peer_joined(self, peer: str, hello: Hello) -> None:
        """A prefill worker answered; another epoch is another process, and the old one can write no more."""
        record("peer_joined", peer=peer, epoch=hello.epoch, transport=hello.endpoint.kind)
        self._addresses[peer] = hello.address
        if self._epochs.get(peer, hello.epoch) != hello.epoch:
            self._post(lambda now: self._core.peer_replaced(peer, now))
        self._epochs[peer] = hello.epoch

    def peer_said(self, peer: str, message: Message) -> None:
        """Takes a message of a prefill worker to the core."""
        match message:
            case Commit(room=room, first_token=token):
                name = self._addresses.get(peer, peer)
                self._metrics.kv_moved(
                    direction="received",
                    peer=name,
                    size=message.bytes,
                    pages=message.pages,
                    writes=message.writes,
                )
                self._metrics.transfer_ended(direction="received", peer=name, size=message.bytes, seconds=0.0, ok=True)
                self._post(lambda now: self._core.committed(peer, room, token, now))
            case Drained(room=room):
                self._post(lambda now: self._core.drained(peer, room, now))
            case Abort(room=room, reason=reason):
                self._post(lambda now: self._core.peer_aborted(peer, room, reason, now))
            case _:
                record("stray_message", peer=peer, message=type(message).__name__)

    def peer_lost(self, peer: str, reason: str) -> None:
        """A prefill worker is gone: what it had not committed is lost."""
        record("peer_lost", peer=peer, reason=reason)
        self._post(lambda now: self._core.peer_lost(peer, reason, now))

    async def stop(self) -> None:
        """Ends the channels."""
        if self.client is not None:
            await self.client.stop()
