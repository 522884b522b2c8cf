"""Decisions of a decode worker: grant pages first, receive, continue token by token.

Who may touch a sequence's staging pages:

    AWAIT_PAGES   nobody, it has none
    GRANTED       prefill (writer); what has arrived is copied into the slot already
    RUNNING       nobody, they were copied and returned
    FENCING       prefill, perhaps: the pages are quarantined under the room until prefill says DRAINED, its process
                  is known to be another one, its process is known to be gone and the transport's hard timeout is
                  over, or the lease (after which prefill starts no write, whatever it has heard) and the hard
                  timeout are over

A commit is taken once; prefill may send it again until it hears so. What becomes of prefill after it does not matter.

Events in, actions out; no torch, no sockets, no clock (`now` is passed in, in seconds).
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Collection
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, replace

from .actions import Action, Emit, FenceLifted, ImportPages, SendAbort, SendAck, SendGrant
from .integrity import pool_problems
from .lifecycle import Event, State
from .pages import Owner, PagePool
from .pulse import LONGEST_GAP_S, Pulse
from .request import Finish, FinishKind, Scores
from .schedule import Schedule, Step, pages_for
from .sequence import Sequence
from .transfer.plan import slice_runs
from .unified_core import finish_decode_step

__all__ = ["DecodeCore"]

# With so many prompts or fewer at prefill, one computes and the others wait no longer than behind one another.
_FEW_PROMPTS = 2
_MOST_PAUSES = 2
# Rooms whose commit was taken, for a commit that comes again; bounded.
_REMEMBERED_ROOMS = 4096
# What a process that was replaced had sent stands in this host's buffers for moments at most, and so does what had been
# sent to this one while it stood still.
_REPLACED_S = 1.0
# Ticks of a loop that runs come closer than that; behind a longer gap there may have been a long step, or a stop. The
# fence of a process that was replaced is so short that it minds the smaller one.
_USUAL_GAP_S, _BRIEF_GAP_S = 1.0, 0.5
_LIFTED_BY = {"replaced": Event.REPLACED, "drained": Event.DRAINED}
_BRIEF_FENCES = frozenset(_LIFTED_BY)
# Of such gaps, no more than this is held against the clock: steps may be long for hours.
_MOST_DOUBT_S = 30.0


@dataclass(frozen=True, slots=True)
class _Fence:
    """Pages in quarantine.

    Attributes:
        doubt_s: of the time that passed, what this process may have slept through.
        is_lost: the connection over which the pages were granted has ended; else a process that connects now may be
            the one that the grant is for.
    """

    peer: str
    sequence: Sequence
    until: float
    why: str = "lease"
    is_lost: bool = False
    doubt_s: float = 0.0

    def behind(self, gap: float) -> _Fence:
        """Returns the fence after a gap between two ticks: what was sent to us meanwhile may land only now."""
        if gap > LONGEST_GAP_S:
            return replace(self, until=self.until + gap)
        usual = _BRIEF_GAP_S if self.why in _BRIEF_FENCES else _USUAL_GAP_S
        doubt_s = min(_MOST_DOUBT_S, self.doubt_s + gap) if gap > usual else self.doubt_s
        return replace(self, until=self.until + doubt_s - self.doubt_s, doubt_s=doubt_s)

    def at_most(self, until: float, why: str) -> _Fence:
        """Returns the fence that ends then, or earlier as this one does."""
        return self if self.until <= until else replace(self, until=until, why=why)


class DecodeCore:
    """Admission, grants, commits and fences of one decode worker.

    Args:
        staging: the pool of pages that prefill writes into.
        staging_share: of the pool, how much is given out before a grant waits, so that resident memory stays small;
            a single longer prompt is always granted when nothing else is.
        waiting_timeout_s: how long a grant may stay without a commit.
        fence_s: how long after a lost peer its pages stay quarantined.
        gives_way: prefill computes on the same cores, and gets more of them while prompts pile up: decoding more
            slowly has more answers share each step, so that together they take less time.
    """

    def __init__(
        self,
        schedule: Schedule,
        staging: PagePool,
        *,
        staging_share: float,
        waiting_timeout_s: float,
        fence_s: float,
        gives_way: bool = False,
    ) -> None:
        self.schedule = schedule
        self.staging = staging
        self.actions: list[Action] = []
        self.awaiting: deque[Sequence] = deque()
        self.granted: dict[int, Sequence] = {}
        self.fences: dict[int, _Fence] = {}
        self.stale_messages = 0
        self._taken: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._staging_limit = max(1, int(staging.total * staging_share))
        self._waiting_timeout_s = waiting_timeout_s
        self._fence_s = fence_s
        self._gives_way = gives_way
        self._pulse = Pulse()
        self._woke_at = -math.inf

    @property
    def pauses(self) -> int:
        """For how many steps' time to pause after a step: the more granted prompts wait to be computed, the more."""
        return min(max(0, len(self.granted) - _FEW_PROMPTS), _MOST_PAUSES) if self._gives_way else 0

    @property
    def fenced_peers(self) -> frozenset[str]:
        """The peers that some pages wait for."""
        return frozenset(fence.peer for fence in self.fences.values())

    def knows(self, peer: str, room: int) -> bool:
        """Returns whether the room is at work or fenced, or its commit was taken not long ago."""
        if room in self.granted or room in self.fences or (peer, room) in self._taken:
            return True
        return any(sequence.room == room for sequence in self._open())

    def _open(self) -> tuple[Sequence, ...]:
        """Returns every request that has not ended."""
        return (*self.awaiting, *self.granted.values(), *self.schedule.sequences())

    def submit(self, sequence: Sequence, now: float) -> None:
        """Takes a new request and grants pages when there are any. A room that is at work is refused with 409."""
        if sequence.room in self.fences or any(other.room == sequence.room for other in self._open()):
            sequence.advance(Event.ABORT)
            self.actions.append(Emit(sequence.key, finish=sequence.room_is_active()))
            return
        self._taken.pop((sequence.peer, sequence.room), None)
        self.awaiting.append(sequence)
        self._grant(now)

    def _grant(self, now: float) -> None:
        schedule = self.schedule
        while self.awaiting and schedule.running + len(self.granted) < schedule.max_running:
            if schedule.waiting:  # a preempted sequence is older than anything that waits here
                return
            sequence = self.awaiting[0]
            pages = pages_for(sequence.prefill_tokens, schedule.page_size)
            in_use = self.staging.statistics().held  # what is fenced may stay so for minutes and must block nobody
            if in_use and in_use + pages > self._staging_limit:
                return
            slot = schedule.slot_pages(sequence)
            if not schedule.leaves_room(slot) or not schedule.take_slot(sequence, slot):
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

    def arrived(self, peer: str, room: int, pages: int) -> None:
        """Prefill says that the first `pages` pages of the room are written: they are copied while it goes on."""
        sequence = self.granted.get(room)
        if sequence is None or sequence.peer != peer:
            self.stale_messages += 1
            return
        self._import(sequence, pages)

    def _import(self, sequence: Sequence, pages: int) -> None:
        """Has the first `pages` granted pages copied into the slot, those left out that were copied before."""
        assert sequence.slot is not None
        page = self.schedule.page_size
        done = pages_for(sequence.computed, page)
        if runs := slice_runs(sequence.staging, done, pages - done):
            granted = sequence.staging
            self.actions.append(ImportPages(sequence, sequence.slot.start + done, runs, granted, done))
            sequence.computed = min(pages * page, sequence.prefill_tokens)

    def committed(
        self,
        peer: str,
        room: int,
        first_token: int,
        now: float,
        scores: Scores | None = None,
        *,
        cached_tokens: int = 0,
    ) -> bool:
        """Prefill says that everything is written; returns False for a room that does not wait for that."""
        sequence = self.granted.get(room)
        if sequence is None or sequence.peer != peer:
            self.stale_messages += 1
            self.actions.append(SendAck(peer, room, known=(peer, room) in self._taken))
            return False
        self._taken[peer, room] = None
        while len(self._taken) > _REMEMBERED_ROOMS:
            self._taken.popitem(last=False)
        del self.granted[room]
        sequence.advance(Event.COMMIT)
        self._import(sequence, pages_for(sequence.prefill_tokens, self.schedule.page_size))
        self.actions.append(SendAck(peer, room, known=True))
        self.staging.release(sequence.staging, Owner.writer(room))
        sequence.staging = ()
        sequence.computed = sequence.sent = sequence.prefill_tokens
        sequence.scores, sequence.cached = scores, cached_tokens
        finish = sequence.append(first_token)
        self.actions.append(
            Emit(sequence.key, (first_token,), finish, scores=scores, cached_tokens=sequence.cached_tokens)
        )
        if finish is None:
            self.schedule.start_decoding(sequence)
        else:
            sequence.advance(Event.STOP)
            self.schedule.remove(sequence)
        self._grant(now)
        return True

    def abort(self, sequence: Sequence, finish: Finish, now: float, event: Event = Event.ABORT) -> None:
        """Gives a request up; its granted pages stay fenced until prefill is known to be done with them."""
        self._give_up(sequence, finish, event)
        self._grant(now)

    def _give_up(self, sequence: Sequence, finish: Finish, event: Event) -> None:
        before = sequence.state
        if not sequence.advance(event):
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
            if event is not Event.PEER_LOST:  # else it hears so when it is back: see `peer_joined`
                self.actions.append(SendAbort(peer, room, finish.message))
        self.schedule.remove(sequence)
        self.actions.append(Emit(sequence.key, finish=finish))

    def drained(self, peer: str, room: int, now: float) -> None:
        """Prefill promises not to write into this room's pages any more."""
        sequence = self.granted.get(room)
        if sequence is not None and sequence.peer == peer:  # no commit will come
            message = "Prefill gave the request up."
            self._give_up(sequence, Finish(FinishKind.ABORT, message=message, http_status=502), Event.ABORT)
        fence = self.fences.get(room)
        # A process that took another one's place knows nothing of that one's writes.
        if fence is None or fence.peer != peer or fence.why == "replaced":
            self.stale_messages += 1
            return
        self._mind_gap(now)
        if now < self._woke_at + _REPLACED_S:
            # The promise may be older than bytes that were sent to us before it: it came another way.
            self.fences[room] = self.fences[room].at_most(self._woke_at + _REPLACED_S, "drained")
            return
        self._lift(room, Event.DRAINED, "drained")
        self._grant(now)

    def _lift(self, room: int, event: Event, why: str) -> None:
        fence = self.fences.pop(room)
        fence.sequence.advance(event)
        self.staging.drain(Owner.writer(room))
        pages = sum(run.count for run in fence.sequence.staging)
        fence.sequence.staging = ()
        self.actions.append(FenceLifted(fence.peer, room, pages, why))

    def peer_aborted(self, peer: str, room: int, reason: str, now: float) -> None:
        """Prefill gave the room up."""
        sequence = self.granted.get(room)
        if sequence is None:
            sequence = next((s for s in self.awaiting if s.room == room), None)
        if sequence is None or sequence.peer != peer:
            self.stale_messages += 1
            return
        self.abort(sequence, Finish(FinishKind.ABORT, message=reason, http_status=502), now)

    def peer_lost(self, peer: str, reason: str, now: float, unsent: Collection[int] = ()) -> None:
        """The connection to a prefill worker ended; what it had not committed is given up.

        Args:
            unsent: rooms whose grant never left this process, so that nobody can write their pages.
        """
        finish = Finish(FinishKind.ABORT, message=reason, http_status=502)
        for sequence in [s for s in (*self.awaiting, *self.granted.values()) if s.peer == peer]:
            self._give_up(sequence, finish, Event.PEER_LOST)
        for room, fence in self.fences.items():
            if fence.peer == peer:
                self.fences[room] = replace(fence, is_lost=True)
        for room in unsent:
            if (fence := self.fences.get(room)) is not None and fence.peer == peer:
                self._lift(room, Event.DRAINED, "drained")
                self.actions.append(SendAbort(peer, room, reason))
        self._grant(now)

    def peer_joined(self, peer: str, now: float) -> None:
        """The process that was lost is connected again: it is asked for the pages that still wait for it."""
        for room, fence in self.fences.items():
            if fence.peer == peer:
                self.actions.append(SendAbort(peer, room, "The decode worker had lost the connection."))

    def peer_replaced(self, peer: str, now: float) -> None:
        """Another process answers at the peer's address: the old one, which was lost before, can write no more."""
        self._shorten(peer, now + _REPLACED_S, "replaced")

    def peer_dead(self, peer: str, now: float) -> None:
        """The peer's process is gone for sure; what it had given to its network may still arrive."""
        self._shorten(peer, now + self._fence_s, "dead")

    def _shorten(self, peer: str, until: float, why: str) -> None:
        for room, fence in self.fences.items():
            if fence.peer == peer and fence.is_lost:
                self.fences[room] = fence.at_most(until, why)

    def restart(self) -> None:
        """All KV is lost and staging pages are other memory: gives grants up, computes what was decoded again.

        Nobody can write into the new pages yet, and no prefill worker is connected, so that there is nobody to tell.
        Requests that wait for pages own nothing, and wait on.
        """
        for sequence in tuple(self.granted.values()):
            self._give_up(sequence, sequence.rank_was_lost(), Event.PEER_LOST)
        for room in tuple(self.fences):
            self._lift(room, Event.DRAINED, "renewed")
        self.schedule.restart()

    def tick(self, now: float) -> None:
        """Ends requests and grants whose time is over, and fences whose writer provably stopped."""
        self._mind_gap(now)
        for sequence in [s for s in self._open() if now >= s.expires_at]:
            self._give_up(sequence, sequence.time_is_over(), Event.DEADLINE)
        message = f"The KV cache did not arrive within {self._waiting_timeout_s:g} s."
        for sequence in [s for s in self.granted.values() if now >= s.deadline]:
            self._give_up(sequence, Finish(FinishKind.ABORT, message=message, http_status=504), Event.EXPIRED)
        for room, fence in [(room, fence) for room, fence in self.fences.items() if now >= fence.until]:
            self._lift(room, _LIFTED_BY.get(fence.why, Event.EXPIRED), fence.why)
        self._grant(now)

    def _mind_gap(self, now: float) -> None:
        """Fences count no time that this process may have stood still."""
        if (gap := self._pulse.gap(now)) > _BRIEF_GAP_S:
            self._woke_at = now
            self.fences = {room: fence.behind(gap) for room, fence in self.fences.items()}

    def integrity(self) -> list[str]:
        """Returns what is wrong with the pools, one sentence each."""
        computing = {Owner.request(s.key) for s in (*self.granted.values(), *self.schedule.sequences())}
        writers = {Owner.writer(room) for room in self.granted}
        return pool_problems("slots", self.schedule.slots, computing) + pool_problems(
            "staging", self.staging, writers, {Owner.writer(room) for room in self.fences}
        )

    def next_step(self) -> Step | None:
        """Returns the next forward pass; prompt chunks only for sequences that lost their slot."""
        self.schedule.admit()
        return self.schedule.next_step()

    def step_done(self, step: Step, tokens: Tokens[int], now: float) -> None:
        """Takes the result of `next_step`'s step."""
        finish_decode_step(self.schedule, step, tokens, self.actions)
        self._grant(now)
