"""The two halves' dealings with each other: from a core's messages and pages to channels and links, and back.

`PrefillExchange` and `DecodeExchange` are the outlets of the step loop for everything that leaves the process. They
translate and measure; what to do is the cores' business.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Many
from functools import partial

from .actions import (
    Action,
    ExportPages,
    FenceLifted,
    SendAbort,
    SendAck,
    SendCommit,
    SendDrained,
    SendGrant,
    WritePages,
)
from .decode_core import DecodeCore
from .errors import RemoteProtocolError, TransferError
from .failpoints import NO_FAILPOINTS, Failpoints
from .fences import Fences
from .kv import KVCache
from .log import record
from .metrics import EngineMetrics
from .outgoing import Outgoing
from .page_checks import PageDigests
from .peer.client import PeerClient
from .peer.health import BootstrapHealth
from .peer.identity import is_gone
from .peer.messages import Abort, Ack, Arrived, Commit, Drained, Grant, Hello, Message, ProcessId
from .peer.server import PeerServer
from .prefill_core import PrefillCore
from .request import Finish, FinishKind, Scores
from .sequence import Sequence
from .transfer.api import Endpoint, Link, Ticket, TicketState
from .transfer.plan import merge_runs

__all__ = ["DecodeExchange", "PrefillExchange"]

_LOOK_S = 0.5
_SENT_S = 0.01

Post = Callable[[Callable[[float], None]], None]


class PrefillExchange:
    """Prefill's side: grants in, pages and commits out.

    Args:
        digests: check mode: makes the checksums that travel with commits.
    """

    def __init__(
        self,
        core: PrefillCore,
        post: Post,
        kv: KVCache,
        endpoint: Endpoint,
        metrics: EngineMetrics,
        max_segment: int,
        failpoints: Failpoints = NO_FAILPOINTS,
        digests: PageDigests | None = None,
    ) -> None:
        self._failpoints = failpoints
        self._digests = digests
        self._core = core
        self._post = post
        self._kv = kv
        self._endpoint = endpoint
        self._metrics = metrics
        self._max_segment = max_segment
        self._links: dict[str, Link] = {}
        self._refused: dict[str, str] = {}  # peer -> why the transport cannot reach it
        self._epochs: dict[str, int] = {}
        self._sent: dict[int, Outgoing] = {}
        self._fences = Fences()
        self._loop = asyncio.get_running_loop()
        self.server: PeerServer | None = None
        self.on_lost: Callable[[str, str], None] = lambda peer, reason: None

    def export(self, action: ExportPages | WritePages) -> None:
        """Starts writing pages that stand in staging, or will once the device has copied them."""
        sent = self._outgoing(action.sequence)
        place = sent.begin(sum(run.count for run in action.staging))
        if (ready := self._kv.fence()) is None:
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
        segments = merge_runs(action.staging, action.target, self._kv.page_bytes, max_bytes=self._max_segment)
        link = self._links.get(sequence.peer)
        if link is None:  # the peer left while the step ran; peer_lost is in the mailbox already
            self._unwritten(action, sent, self._refused.get(sequence.peer, "the peer has gone"))
            return
        if not sent.begun:
            sent.begun = True
            self._failpoints.hit("prefill.before_first_write")
        if self._digests is not None:
            sent.digests.update(self._digests.written(action.staging, action.target))
        ticket = link.write(segments, sequence.lease_until)
        ticket.add_done_callback(partial(self._written, action, sent, place, len(segments)))
        self._failpoints.hit("prefill.while_writing")

    def _written(
        self, action: ExportPages | WritePages, sent: Outgoing, place: int, writes: int, ticket: Ticket
    ) -> None:
        """Runs on a thread of the transport."""
        sequence = action.sequence
        ok, quiet, error = ticket.state is TicketState.DONE, ticket.quiesced, ticket.error
        # Before the commit can leave: its acknowledgement must not overtake this.
        self._post(lambda now: self._core.write_done(sequence, ok=ok, quiet=quiet, error=error, now=now))
        if not ok:
            sent.failed()
            return
        pages, size = sum(run.count for run in action.staging), ticket.bytes
        self._metrics.kv_moved(direction="sent", peer=sequence.peer, size=size, pages=pages, writes=writes)
        sent.done(place, pages=pages, writes=writes, size=size, seconds=ticket.seconds)

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
        """A decode worker connected: opens the link to its staging memory."""
        record("peer_joined", peer=peer, epoch=hello.epoch, transport=hello.endpoint.kind)
        if self._epochs.get(peer, hello.epoch) != hello.epoch:
            self._post(lambda now: self._core.peer_replaced(peer, now))
        self._epochs[peer] = hello.epoch
        try:
            self._links[peer] = self._endpoint.connect(hello.endpoint)
            self._refused.pop(peer, None)
        except TransferError as error:
            self._refused[peer] = str(error)
            record("link_failed", peer=peer, reason=str(error))

    def peer_said(self, peer: str, message: Message) -> None:
        """Takes a message of a decode worker to the core."""
        match message:
            case Grant(room=room, lease_until=lease_until):
                pages = message.pages
                self._post(lambda now: self._core.grant(peer, room, pages, lease_until, now))
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
        """A decode worker is gone: closes its link and gives its rooms up."""
        record("peer_lost", level=logging.WARNING, peer=peer, reason=reason)
        self._refused.pop(peer, None)
        if (link := self._links.pop(peer, None)) is not None:
            # Closing waits for the write that runs, which a stopped peer may hold up until the transport's timeout.
            threading.Thread(target=link.close, name=f"close {peer}", daemon=True).start()
        self._post(lambda now: self._core.peer_lost(peer, reason, now))
        self.on_lost(peer, reason)

    async def stop(self) -> None:
        """Ends links, then channels: who takes over the port must not find this process still writing."""
        await asyncio.to_thread(self._fences.close)
        links, self._links = self._links, {}
        for link in links.values():
            await asyncio.to_thread(link.close)
        if self.server is not None:
            await self.server.stop()


class DecodeExchange:
    """Decode's side: grants out, commits in.

    Args:
        vocab_size: a first token beyond it is refused.
        process: this process's identity, None when unknown.
        digests: check mode: makes the checksums that those of a commit are compared with.
    """

    def __init__(
        self,
        core: DecodeCore,
        post: Post,
        kv: KVCache,
        metrics: EngineMetrics,
        *,
        vocab_size: int,
        process: ProcessId | None = None,
        failpoints: Failpoints = NO_FAILPOINTS,
        digests: PageDigests | None = None,
    ) -> None:
        self._failpoints = failpoints
        self._digests = digests
        self._core = core
        self._post = post
        self._kv = kv
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._addresses: dict[str, str] = {}  # bootstrap address -> HTTP address, which names the worker in metrics
        self._epochs: dict[str, int] = {}
        self._vocab_size = vocab_size
        self._process = process
        self._processes: dict[str, ProcessId | None] = {}
        self._losing: set[str] = set()  # lost, and the core does not know yet
        self._fenced: frozenset[str] = frozenset()
        self._tasks: list[asyncio.Task[None]] = []
        self.client: PeerClient | None = None
        self.on_lost: Callable[[str, str], None] = lambda peer, reason: None
        self.health: BootstrapHealth | None = None

    async def start(self) -> None:
        """Makes the client ready and watches over peers."""
        assert self.client is not None
        await self.client.start()
        self._tasks.append(asyncio.create_task(self._watch()))
        if self.health is not None:
            self._tasks.append(asyncio.create_task(self.health.run()))

    async def _watch(self) -> None:
        """Tells the core of peers whose process has ended while pages wait for them."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for peer in self._fenced:
                process = self._processes.get(peer)
                if process is not None and is_gone(process, self._process):
                    self._post(partial(self._core.peer_dead, peer))

    def is_awaited(self, peer: str) -> bool:
        """Returns whether pages wait for a lost peer, so that it is worth connecting again."""
        return peer in self._losing or peer in self._fenced

    def export(self, action: ExportPages | WritePages) -> None:
        """Decode exports nothing."""
        raise AssertionError("a decode worker has nothing to export")

    def send(self, action: Action) -> None:
        """Sends a message to a prefill worker."""
        self._fenced = self._core.fenced_peers
        match action:
            case FenceLifted(peer=peer, room=room, pages=pages, why=why):
                self._metrics.fence_lifted(why)
                if why != "drained":
                    record("fence_lifted", level=logging.WARNING, peer=peer, room=room, pages=pages, why=why)
            case SendGrant(sequence=sequence):
                runs = tuple((run.start, run.count) for run in sequence.staging)
                self._tell(sequence.peer, Grant(sequence.room, runs, sequence.prefill_tokens, sequence.deadline))
                if self._failpoints.armed:  # soon, when the grant has left
                    self._loop.call_soon_threadsafe(
                        self._loop.call_later, _SENT_S, self._failpoints.hit, "decode.after_grant"
                    )
            case SendAck(peer=peer, room=room, known=known):
                if known:
                    self._failpoints.hit("decode.before_ack")
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
        self._processes[peer] = hello.process
        if self._epochs.get(peer, hello.epoch) == hello.epoch:
            self._post(lambda now: self._core.peer_joined(peer, now))
        else:
            self._post(lambda now: self._core.peer_replaced(peer, now))
        self._epochs[peer] = hello.epoch

    def peer_said(self, peer: str, message: Message) -> None:
        """Takes a message of a prefill worker to the core."""
        match message:
            case Commit(room=room, first_token=token):
                if token >= self._vocab_size:
                    raise RemoteProtocolError(f"Token {token} is beyond the vocabulary of {self._vocab_size}.")
                self._post(partial(self._commit, peer, message))
            case Arrived(room=room, pages=pages):
                self._post(lambda now: self._core.arrived(peer, room, pages))
            case Drained(room=room):
                self._post(lambda now: self._core.drained(peer, room, now))
            case Abort(room=room, reason=reason):
                self._post(lambda now: self._core.peer_aborted(peer, room, reason, now))
            case _:
                record("stray_message", peer=peer, message=type(message).__name__)

    def _is_damaged(self, peer: str, message: Commit, now: float) -> bool:
        """Check mode: gives a request up whose pages are not what prefill sent; returns whether they are not."""
        sequence = self._core.granted.get(message.room)
        if self._digests is None or not message.digest or sequence is None or sequence.peer != peer:
            return False
        found = self._digests.of(sequence.staging)
        if found == message.digest:
            return False
        self._metrics.integrity_error()
        record("damaged_pages", level=logging.ERROR, peer=peer, room=message.room, sent=message.digest, found=found)
        problem = "The KV cache arrived damaged: its checksums are not those of prefill."
        self._core.abort(sequence, Finish(FinishKind.ABORT, message=problem, http_status=502), now)
        return True

    def _commit(self, peer: str, message: Commit, now: float) -> None:
        if self._is_damaged(peer, message, now):
            return
        scores = None if message.logprobs is None else Scores((message.logprobs,))
        cached = message.cached_tokens
        if not self._core.committed(peer, message.room, message.first_token, now, scores, cached_tokens=cached):
            return  # it came again, or too late
        name, size = self._addresses.get(peer, peer), message.bytes
        self._metrics.kv_moved(direction="received", peer=name, size=size, pages=message.pages, writes=message.writes)
        self._metrics.transfer_ended(direction="received", peer=name, size=size, seconds=0.0, ok=True)

    def peer_lost(self, peer: str, reason: str, unsent: Many[Message] = ()) -> None:
        """A prefill worker is gone: what it had not committed is lost."""
        record("peer_lost", level=logging.WARNING, peer=peer, reason=reason)
        rooms = frozenset(message.room for message in unsent if isinstance(message, Grant))
        self._losing.add(peer)

        def lose(now: float) -> None:
            self._core.peer_lost(peer, reason, now, rooms)
            self._fenced = self._core.fenced_peers
            self._loop.call_soon_threadsafe(self._losing.discard, peer)

        self._post(lose)
        self.on_lost(peer, reason)

    async def stop(self) -> None:
        """Ends the channels."""
        for task in self._tasks:
            task.cancel()
        if self.client is not None:
            await self.client.stop()
