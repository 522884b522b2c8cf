"""Decode's dealings with prefill workers: grants out, commits in.

`DecodeExchange` is the outlet of the step loop for everything that leaves the process. It translates and measures; what
to do is the core's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence as Many
from functools import partial
from typing import TYPE_CHECKING

from .actions import Action, ExportPages, FenceLifted, SendAbort, SendAck, SendGrant, WritePages
from .errors import RemoteProtocolError
from .failpoints import NO_FAILPOINTS, Failpoints
from .kv import KVCache
from .log import record
from .metrics import EngineMetrics
from .page_checks import PageDigests
from .parallel.carrier import RankCarrier
from .parallel.carriers import WorkerCarrier
from .parallel.orders import as_page_runs
from .parallel.shipment import RankPlace
from .peer.client import PeerClient
from .peer.health import BootstrapHealth
from .peer.identity import is_gone
from .peer.messages import Abort, Ack, Arrived, Commit, Drained, Grant, Hello, Message, ProcessId
from .request import Finish, FinishKind, Scores
from .sequence import Sequence
from .turnstile import Turnstile

if TYPE_CHECKING:
    from .cores import DecodeSide

__all__ = ["DecodeExchange"]

_LOOK_S = 0.5
_SENT_S = 0.01

Post = Callable[[Callable[[float], None]], None]


class DecodeExchange:
    """Decode's side: grants out, commits in.

    Args:
        vocab_size: a first token beyond it is refused.
        process: this process's identity, None when unknown.
        digests: check mode: makes the checksums that those of a commit are compared with.
        carrier: the ranks of the worker; None for one that has `kv` alone.
    """

    def __init__(
        self,
        core: DecodeSide,
        post: Post,
        kv: KVCache,
        metrics: EngineMetrics,
        *,
        vocab_size: int,
        process: ProcessId | None = None,
        failpoints: Failpoints = NO_FAILPOINTS,
        digests: PageDigests | None = None,
        carrier: WorkerCarrier | None = None,
    ) -> None:
        self._failpoints = failpoints
        self._digests = digests
        self._core = core
        self._post = post
        checks = digests is not None and kv is not None
        self._carrier = carrier or WorkerCarrier(RankCarrier(RankPlace(), kv, None, checks=checks))
        self._turns = Turnstile()
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._addresses: dict[str, str] = {}  # bootstrap address -> HTTP address, which names the worker in metrics
        self._epochs: dict[str, int] = {}
        self._vocab_size = vocab_size
        self._process = process
        self._processes: dict[str, ProcessId | None] = {}
        self._losing: set[str] = set()  # lost, and the core does not know yet
        self._lives = 0  # how often this worker came back as another one
        self._losses: Counter[str] = Counter()
        self._known_losses: Counter[str] = Counter()  # those that the core knows of
        self._fenced: frozenset[str] = frozenset()
        self._tasks: list[asyncio.Task[None]] = []
        self.client: PeerClient | None = None
        self.on_lost: Callable[[str, str], None] = lambda peer, reason: None
        self.health: BootstrapHealth | None = None

    @property
    def open_sends(self) -> int:
        """Orders that not all ranks have answered."""
        return self._carrier.tickets

    @property
    def bounce_in_use(self) -> int:
        """Nothing: what is received needs no bounce memory."""
        return 0

    def leave(self, reason: str) -> None:
        """Ends what prefill workers have with this one, until `come_back`; on the event loop."""
        assert self.client is not None
        self._lives += 1
        self.client.leave(reason)

    def come_back(self, hello: Hello, http_port: int) -> None:
        """Connects to prefill workers again, as another process at this address would; on the event loop."""
        assert self.client is not None
        self.client.come_back(hello)

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
                runs, tokens, group = as_page_runs(sequence.staging), sequence.prefill_tokens, sequence.group
                grant = Grant(sequence.room, runs, tokens, sequence.deadline, group)
                since = self._lives, self._known_losses[sequence.peer]
                posting = partial(self._post_grant, sequence.peer, grant, since)
                self._carrier.when_settled(group, self._turns.hold(posting))
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
        self._turns.put(partial(self._post_out, peer, message))

    def _post_out(self, peer: str, message: Message) -> None:
        assert self.client is not None
        self._loop.call_soon_threadsafe(self.client.send, peer, message)

    def _post_grant(self, peer: str, grant: Grant, since: tuple[int, int]) -> None:
        self._loop.call_soon_threadsafe(self._send_grant, peer, grant, since)

    def _send_grant(self, peer: str, grant: Grant, since: tuple[int, int]) -> None:
        """Sends a grant; not when the connection that it was meant for has ended, as the core will hear and mind."""
        assert self.client is not None
        if since == (self._lives, self._losses[peer]):
            self.client.send(peer, grant)

    def peer_joined(self, peer: str, hello: Hello) -> None:
        """A prefill worker answered; another epoch is another process, and the old one can write no more."""
        record("peer_joined", peer=peer, epoch=hello.epoch, transport=hello.endpoint.kind)
        self._addresses[peer] = hello.address
        self._processes[peer] = hello.process
        # On the loop, behind what was heard of the ranks that were there before.
        self._post(lambda now: self._carrier.connect(peer, hello.all_ranks))
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

    def _checked(self, peer: str, message: Commit) -> Sequence | None:
        """Check mode: returns the request whose pages are to be compared with what prefill sent."""
        sequence = self._core.granted.get(message.room)
        is_meant = sequence is not None and sequence.peer == peer
        return sequence if self._digests is not None and message.digest and is_meant else None

    def _is_damaged(self, peer: str, message: Commit, now: float, found: tuple[int, ...]) -> bool:
        """Check mode: gives a request up whose pages are not what prefill sent; returns whether they are not."""
        sequence = self._checked(peer, message)
        if sequence is None or found == message.digest:
            return False
        self._metrics.integrity_error()
        record("damaged_pages", level=logging.ERROR, peer=peer, room=message.room, sent=message.digest, found=found)
        problem = "The KV cache arrived damaged: its checksums are not those of prefill."
        self._core.abort(sequence, Finish(FinishKind.ABORT, message=problem, http_status=502), now)
        return True

    def _commit(self, peer: str, message: Commit, now: float) -> None:
        sequence = self._checked(peer, message)
        if sequence is None or self._digests is None:
            self._take(peer, message, now)
        elif self._carrier.is_plain(peer):
            self._compare(peer, message, self._digests.of(sequence.staging), now)
        else:
            compare = partial(self._compare, peer, message)
            self._carrier.checksums(
                sequence.group, peer, sequence.staging, lambda found: self._post(partial(compare, found))
            )

    def _compare(self, peer: str, message: Commit, found: tuple[int, ...] | None, now: float) -> None:
        if found is None:
            if (sequence := self._checked(peer, message)) is not None:
                problem = "The decode worker lost a rank before the KV cache was checked."
                self._core.abort(sequence, Finish(FinishKind.ABORT, message=problem, http_status=502), now)
            return
        if not self._is_damaged(peer, message, now, found):
            self._take(peer, message, now)

    def _take(self, peer: str, message: Commit, now: float) -> None:
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
        self._losses[peer] += 1
        losses = self._losses[peer]

        def lose(now: float) -> None:
            self._known_losses[peer] = losses
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
