"""Decisions of a decode worker: grant pages first, receive, continue token by token.

Who may touch a sequence's staging pages:

    AWAIT_PAGES   nobody, it has none
    GRANTED       prefill (writer)
    RUNNING       nobody, they were copied into the slot and returned
    FENCING       prefill, perhaps: the pages are quarantined under the room until prefill says DRAINED, its process
                  is known to be another one, or the lease (after which prefill starts no write, whatever it has
                  heard) and the transport's hard timeout are over

Events in, actions out; no torch, no sockets, no clock (`now` is passed in, in seconds).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, replace

from .actions import Action, Emit, ImportPages, SendAbort, SendAck, SendGrant
from .lifecycle import Event, State
from .pages import Owner, PagePool
from .pulse import LONGEST_GAP_S, Pulse
from .request import Finish, FinishKind
from .schedule import Schedule, Step, pages_for
from .sequence import Sequence
from .unified_core import finish_decode_step

__all__ = ["DecodeCore"]


@dataclass(frozen=True, slots=True)
class _Fence:
    peer: str
    sequence: Sequence
    until: float


class DecodeCore:
    """Admission, grants, commits and fences of one decode worker.

    Args:
        staging: the pool of pages that prefill writes into.
        staging_share: of the pool, how much is given out before a grant waits, so that resident memory stays small;
            a single longer prompt is always granted when nothing else is.
        waiting_timeout_s: how long a grant may stay without a commit.
        fence_s: how long after a lost peer its pages stay quarantined.
    """

    def __init__(
        self,
        schedule: Schedule,
        staging: PagePool,
        *,
        staging_share: float,
        waiting_timeout_s: float,
        fence_s: float,
    ) -> None:
        self.schedule = schedule
        self.staging = staging
        self.actions: list[Action] = []
        self.awaiting: deque[Sequence] = deque()
        self.granted: dict[int, Sequence] = {}
        self.fences: dict[int, _Fence] = {}
        self.stale_messages = 0
        self._staging_limit = max(1, int(staging.total * staging_share))
        self._waiting_timeout_s = waiting_timeout_s
        self._fence_s = fence_s
        self._pulse = Pulse(LONGEST_GAP_S)

    def submit(self, sequence: Sequence, now: float) -> None:
        """Takes a new request and grants pages when there are any."""
        self.awaiting.append(sequence)
        self._grant(now)

    def _grant(self, now: float) -> None:
        schedule = self.schedule
        while self.awaiting and schedule.running + len(self.granted) < schedule.max_running:
            if schedule.waiting:  # a preempted sequence is older than anything that waits here
                return
            sequence = self.awaiting[0]
            pages = pages_for(sequence.prefill_tokens, schedule.page_size)
            in_use = self.staging.total - self.staging.free
            if in_use and in_use + pages > self._staging_limit:
                return
            if not schedule.take_slot(sequence, schedule.slot_pages(sequence)):
                return
            runs = self.staging.alloc(pages, Owner.writer(sequence.room))
            if runs is None:
                schedule.release_slot(sequence)
                return
            self.awaiting.popleft()
            sequence.staging = runs
            sequence.deadline = now + self._waiting_timeout_s
            sequence.advance(Event.PAGES)
            self.granted[sequence.room] = sequence
            self.actions.append(SendGrant(sequence))

    def committed(self, peer: str, room: int, first_token: int, now: float) -> None:
        """Prefill says that everything is written."""
        sequence = self.granted.get(room)
        if sequence is None or sequence.peer != peer:
            self.stale_messages += 1
            self.actions.append(SendAck(peer, room, known=False))
            return
        del self.granted[room]
        sequence.advance(Event.COMMIT)
        assert sequence.slot is not None
        self.actions.append(ImportPages(sequence, sequence.slot.start, sequence.staging))
        self.actions.append(SendAck(peer, room, known=True))
        self.staging.release(sequence.staging, Owner.writer(room))
        sequence.staging = ()
        sequence.computed = sequence.sent = sequence.prefill_tokens
        finish = sequence.append(first_token)
        self.actions.append(Emit(sequence.key, (first_token,), finish))
        if finish is None:
            self.schedule.start_decoding(sequence)
        else:
            sequence.advance(Event.STOP)
            self.schedule.remove(sequence)
        self._grant(now)

    def abort(self, sequence: Sequence, finish: Finish, now: float) -> None:
        """Gives a request up; its granted pages stay fenced until prefill is known to be done with them."""
        before = sequence.state
        if not sequence.advance(Event.ABORT):
            return
        sequence.expires_at = math.inf
        room, peer = sequence.room, sequence.peer
        if before is State.AWAIT_PAGES:
            self.awaiting.remove(sequence)
            self.actions.append(SendAbort(peer, room, finish.message))
        elif before is State.GRANTED:
            del self.granted[room]
            self.staging.quarantine(sequence.staging, Owner.writer(room))
            self.fences[room] = _Fence(peer, sequence, sequence.deadline + self._fence_s)
            self.actions.append(SendAbort(peer, room, finish.message))
        self.schedule.remove(sequence)
        self.actions.append(Emit(sequence.key, finish=finish))
        self._grant(now)

    def drained(self, peer: str, room: int, now: float) -> None:
        """Prefill promises not to write into this room's pages any more."""
        fence = self.fences.get(room)
        if fence is None or fence.peer != peer:
            self.stale_messages += 1
            return
        self._lift(room, now)

    def _lift(self, room: int, now: float) -> None:
        fence = self.fences.pop(room)
        fence.sequence.advance(Event.DRAINED)
        self.staging.drain(Owner.writer(room))
        fence.sequence.staging = ()
        self._grant(now)

    def peer_aborted(self, peer: str, room: int, reason: str, now: float) -> None:
        """Prefill gave the room up."""
        sequence = self.granted.get(room)
        if sequence is None:
            sequence = next((s for s in self.awaiting if s.room == room), None)
        if sequence is None or sequence.peer != peer:
            self.stale_messages += 1
            return
        self.abort(sequence, Finish(FinishKind.ABORT, message=reason, http_status=502), now)

    def peer_lost(self, peer: str, reason: str, now: float) -> None:
        """The connection to a prefill worker ended; what it had not committed is given up."""
        finish = Finish(FinishKind.ABORT, message=reason, http_status=502)
        for sequence in [s for s in (*self.granted.values(), *self.awaiting) if s.peer == peer]:
            self.abort(sequence, finish, now)

    def peer_replaced(self, peer: str, now: float) -> None:
        """Another process answers at the peer's address: the old one can write no more."""
        for room in [room for room, fence in self.fences.items() if fence.peer == peer]:
            self._lift(room, now)

    def tick(self, now: float) -> None:
        """Ends grants whose time is over and fences whose writer provably stopped."""
        if lost := self._pulse.lost(now):  # what was sent to us meanwhile lands only now
            self.fences = {room: replace(fence, until=fence.until + lost) for room, fence in self.fences.items()}
        open_requests = (*self.awaiting, *self.granted.values(), *self.schedule.sequences())
        for sequence in [s for s in open_requests if now >= s.expires_at]:
            self.abort(sequence, sequence.time_is_over(), now)
        for sequence in [s for s in self.granted.values() if now >= s.deadline]:
            self.abort(
                sequence,
                Finish(
                    FinishKind.ABORT,
                    message=f"The KV cache did not arrive within {self._waiting_timeout_s:g} s.",
                    http_status=504,
                ),
                now,
            )
        for room in [room for room, fence in self.fences.items() if now >= fence.until]:
            self._lift(room, now)

    def next_step(self) -> Step | None:
        """Returns the next forward pass; prompt chunks only for sequences that lost their slot."""
        self.schedule.admit()
        return self.schedule.prefill_step() or self.schedule.decode_step()

    def step_done(self, step: Step, tokens: Tokens[int], now: float) -> None:
        """Takes the result of `next_step`'s step."""
        finish_decode_step(self.schedule, step, tokens, self.actions)
        self._grant(now)
