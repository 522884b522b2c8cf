"""Decisions of a prefill worker: wait for a grant, compute the prompt, stream finished pages, commit.

Who may touch a sequence's staging pages:

    AWAIT_GRANT, QUEUED               nobody, it has none
    RUNNING, FLUSHING, COMMITTING     our links read them
    DRAINING                          links may still read them; they return, and decode hears DRAINED, when the last
                                      write is over and quiet, or the transport's hard timeout after it failed

A commit is asked for with the last writes and leaves when they are complete, whatever is computed then. It is sent
again until decode acknowledges it: decode takes it once. The slot returns as soon as the last chunk was copied into
staging. Events in, actions out; no torch, no sockets, no clock (`now` is passed in, in seconds).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence as Tokens
from dataclasses import dataclass

from .actions import Action, Emit, ExportPages, ImportPages, SendAbort, SendCommit, SendDrained, WritePages
from .integrity import pool_problems
from .lifecycle import Event, State
from .pages import Owner, PagePool, Runs
from .prefix import PrefixCache
from .pulse import Pulse
from .request import Finish, FinishKind
from .schedule import Schedule, Step, pages_for
from .sequence import Sequence
from .transfer.plan import slice_runs

__all__ = ["COMMIT_PATIENCE_S", "RESEND_S", "PrefillCore"]

# Rooms that decode gave up before their request arrived here, and grants that came before it: both are remembered
# for late arrivals, bounded so that a babbling peer cannot grow them.
_REMEMBERED_ROOMS = 4096
# A chunk that a prefix hit cuts short keeps so many tokens: fewer rows go through other matrix kernels, which round
# differently (seen with MKL: from 16 rows on, a row's bits do not depend on their number).
_LEAST_COMPUTED = 16

# A commit is acknowledged between two steps of decode, which take well below a second.
RESEND_S = 1.0
COMMIT_PATIENCE_S = 30.0
# A decode worker whose connection broke while it lives comes back at once, with its acknowledgement.
_RECONNECT_S = 0.75


@dataclass(frozen=True, slots=True)
class _EarlyGrant:
    peer: str
    runs: Runs
    lease_until: float
    group: int


class PrefillCore:
    """Grants, prompt chunks, writes and commits of one prefill worker.

    Args:
        staging: the pool of pages that links read from.
        bootstrap_timeout_s: how long a request waits for its grant.
        hard_timeout_s: after which a failed write provably touches neither source nor destination.
        radix_cache: whether pages are kept for later prompts with the same beginning.
    """

    def __init__(
        self,
        schedule: Schedule,
        staging: PagePool,
        *,
        bootstrap_timeout_s: float,
        hard_timeout_s: float,
        radix_cache: bool = False,
    ) -> None:
        self.schedule = schedule
        self.staging = staging
        self.prefix = PrefixCache(staging, schedule.page_size, enabled=radix_cache)
        self.actions: list[Action] = []
        self.rooms: dict[int, Sequence] = {}
        self.stale_messages = 0
        self._early: OrderedDict[int, _EarlyGrant] = OrderedDict()
        self._aborted: OrderedDict[int, str] = OrderedDict()
        self._bootstrap_timeout_s = bootstrap_timeout_s
        self._hard_timeout_s = hard_timeout_s
        self._pulse = Pulse()

    @property
    def pauses(self) -> int:
        """Nothing is decoded here."""
        return 0

    @property
    def expected_tokens(self) -> int:
        """Tokens that decode has granted pages for, at most, and whose requests have not come."""
        return self.schedule.page_size * sum(run.count for early in self._early.values() for run in early.runs)

    @property
    def early_grants(self) -> int:
        """Grants whose requests have not come."""
        return len(self._early)

    def knows(self, room: int) -> bool:
        """Returns whether the room is at work, or something came for it before its request did."""
        return room in self.rooms or room in self._early or room in self._aborted

    def count(self, *states: State) -> int:
        """Returns how many requests are in any of the states."""
        return sum(sequence.state in states for sequence in self.rooms.values())

    def submit(self, sequence: Sequence, now: float) -> None:
        """Takes a new request; a grant that came first is used at once. A room that is at work is refused with 409."""
        if sequence.room in self.rooms:
            sequence.advance(Event.ABORT)
            self.actions.append(Emit(sequence.key, finish=sequence.room_is_active()))
            return
        sequence.deadline = now + self._bootstrap_timeout_s
        self.rooms[sequence.room] = sequence
        if (reason := self._aborted.pop(sequence.room, None)) is not None:
            self.abort(sequence, Finish(FinishKind.ABORT, message=reason, http_status=502), now, tell_peer=False)
        elif (early := self._early.pop(sequence.room, None)) is not None:
            self.grant(early.peer, sequence.room, early.runs, early.lease_until, now, group=early.group)

    def grant(self, peer: str, room: int, runs: Runs, lease_until: float, now: float, *, group: int = 0) -> None:
        """Decode names the pages to write; the request may not have arrived yet.

        Args:
            lease_until: on the clock that both sides share; no write into the pages may start after it.
            group: decode's attention group, whose pages they are.
        """
        sequence = self.rooms.get(room)
        if sequence is None:
            self._early[room] = _EarlyGrant(peer, runs, lease_until, group)
            while len(self._early) > _REMEMBERED_ROOMS:
                self._early.popitem(last=False)
            return
        pages = sum(run.count for run in runs)
        needed = pages_for(sequence.prefill_tokens, self.schedule.page_size)
        if not sequence.advance(Event.GRANT):
            self.stale_messages += 1
            return
        sequence.peer, sequence.target, sequence.lease_until = peer, runs, lease_until
        sequence.target_group = group
        if pages != needed:
            message = f"Decode granted {pages} pages where the prompt needs {needed}."
            self.abort(sequence, Finish(FinishKind.ABORT, message=message, http_status=502), now)
            return
        self.schedule.waiting.append(sequence)

    def abort(
        self, sequence: Sequence, finish: Finish, now: float, event: Event = Event.ABORT, *, tell_peer: bool = True
    ) -> None:
        """Gives a request up; staging pages return when no write of ours is under way."""
        if not sequence.advance(event):
            return
        sequence.expires_at = math.inf
        if sequence.peer and tell_peer:
            self.actions.append(SendAbort(sequence.peer, sequence.room, finish.message))
        self.schedule.remove(sequence)
        if sequence.finish is None:  # else its first token ended it, and the listener knows
            self.actions.append(Emit(sequence.key, finish=finish))
        if sequence.state is State.CLOSED:
            self._close(sequence, drained=True)
        elif sequence.writes_pending == 0 and not sequence.quiet_at:
            self._drained(sequence)

    def restart(self) -> None:
        """All KV is lost and staging pages are other memory: gives up every request that has a grant.

        No link reads the old pages any more, and no decode worker is connected, so that there is nobody to tell.
        Requests that wait for a grant own nothing, and wait on.
        """
        self._early.clear()
        for sequence in [s for s in self.rooms.values() if s.state is not State.AWAIT_GRANT]:
            if sequence.advance(Event.ABORT):
                sequence.expires_at = math.inf
                self.schedule.remove(sequence)
                if sequence.finish is None:
                    self.actions.append(Emit(sequence.key, finish=sequence.rank_was_lost()))
            if sequence.state is State.DRAINING:
                sequence.advance(Event.DRAINED)
            sequence.peer = ""
            self._close(sequence, drained=True)
        self.prefix.flush()

    def _drained(self, sequence: Sequence, event: Event = Event.DRAINED) -> None:
        sequence.advance(event)
        self._close(sequence, drained=True)

    def _close(self, sequence: Sequence, *, drained: bool) -> None:
        del self.rooms[sequence.room]
        if sequence.staging:
            # What decode took is complete in our pages, too; of anything else that is not known.
            complete = sequence.tokens[: sequence.prefill_tokens] if not drained else ()
            self.prefix.release(Owner.request(sequence.key), sequence.staging, complete)
            sequence.staging = ()
        if sequence.peer and drained:
            self.actions.append(SendDrained(sequence.peer, sequence.room))

    def peer_aborted(self, peer: str, room: int, reason: str, now: float) -> None:
        """Decode gave the room up; a request that has not arrived yet is refused when it does."""
        if (early := self._early.get(room)) is not None and early.peer == peer:
            del self._early[room]
        sequence = self.rooms.get(room)
        if sequence is None:
            self._aborted[room] = reason
            while len(self._aborted) > _REMEMBERED_ROOMS:
                self._aborted.popitem(last=False)
            self.actions.append(SendDrained(peer, room))
            return
        if sequence.peer not in ("", peer):
            self.stale_messages += 1
            return
        sequence.peer = peer
        self.abort(sequence, Finish(FinishKind.ABORT, message=reason, http_status=502), now, tell_peer=False)

    def peer_lost(self, peer: str, reason: str, now: float) -> None:
        """The connection to a decode worker ended; everything for it is given up."""
        finish = Finish(FinishKind.ABORT, message=reason, http_status=502)
        for room in [room for room, early in self._early.items() if early.peer == peer]:
            del self._early[room]
        for sequence in [s for s in self.rooms.values() if s.peer == peer]:
            if sequence.state is State.COMMITTING:  # decode has everything, and perhaps works on it
                sequence.advance(Event.PEER_LOST)
                sequence.deadline = min(sequence.deadline, now + _RECONNECT_S)
            else:
                self.abort(sequence, finish, now, Event.PEER_LOST, tell_peer=False)

    def peer_replaced(self, peer: str, now: float) -> None:
        """Another decode process answers at the address: what the old one had is lost."""
        finish = Finish(FinishKind.ABORT, message=f"The decode worker at {peer} was restarted.", http_status=502)
        for sequence in [s for s in self.rooms.values() if s.peer == peer]:
            self.abort(sequence, finish, now, Event.REPLACED, tell_peer=False)

    def acknowledged(self, peer: str, room: int, known: bool, now: float) -> None:
        """Decode took the commit, or says that it knows no such room."""
        sequence = self.rooms.get(room)
        if sequence is None or sequence.peer != peer:
            self.stale_messages += 1
            return
        if not known:
            message = "Decode had given the request up before the KV cache was complete."
            self.abort(sequence, Finish(FinishKind.ABORT, message=message, http_status=502), now, tell_peer=False)
            return
        if sequence.advance(Event.ACK):
            if sequence.finish is None:
                self.actions.append(Emit(sequence.key, end=True))
            self._close(sequence, drained=False)
        else:
            self.stale_messages += 1

    def write_done(self, sequence: Sequence, *, ok: bool, quiet: bool, error: str, now: float) -> None:
        """One write of the sequence ended; a failed one gives the request up."""
        sequence.writes_pending -= 1
        if not quiet:
            sequence.quiet_at = now + self._hard_timeout_s
        if not ok:
            finish = Finish(FinishKind.ABORT, message=f"KV transfer failed: {error}", http_status=502)
            self.abort(sequence, finish, now)
        if sequence.writes_pending:
            return
        if sequence.state is State.DRAINING:
            if now >= sequence.quiet_at:
                self._drained(sequence)
        elif sequence.state is State.FLUSHING:
            sequence.advance(Event.FLUSHED)
            sequence.deadline = min(sequence.lease_until, now + COMMIT_PATIENCE_S)
            sequence.resend_at = now + RESEND_S

    def _commit(self, sequence: Sequence, *, again: bool = False) -> None:
        self.actions.append(SendCommit(sequence, sequence.tokens[sequence.prefill_tokens], again))

    def tick(self, now: float) -> None:
        """Ends what is over by the clock: requests, waits for grants, leases, commits, failed writes."""
        lost = self._pulse.lost(now)
        for sequence in tuple(self.rooms.values()):
            if now >= sequence.expires_at:
                self.abort(sequence, sequence.time_is_over(), now, Event.DEADLINE)
            elif lost:  # our transport slept, too, and goes on with its writes only now; messages wait unread
                sequence.deadline += lost
                sequence.quiet_at += lost if sequence.quiet_at else 0.0
            match sequence.state:
                case State.AWAIT_GRANT if now >= sequence.deadline:
                    self._expire(
                        sequence, f"No decode worker granted pages within {self._bootstrap_timeout_s:g} s", now
                    )
                case State.QUEUED | State.RUNNING if now >= sequence.lease_until:
                    self._expire(sequence, "Decode's grant ran out before the prompt was computed", now)
                case State.COMMITTING if now >= sequence.deadline:
                    self._expire(sequence, "Decode did not acknowledge the KV cache", now)
                case State.COMMITTING if now >= sequence.resend_at:
                    sequence.advance(Event.RESEND)
                    sequence.resend_at = now + RESEND_S
                    self._commit(sequence, again=True)
                case State.DRAINING if not sequence.writes_pending and now >= sequence.quiet_at:
                    self._drained(sequence, Event.EXPIRED)

    def _expire(self, sequence: Sequence, message: str, now: float) -> None:
        finish = Finish(FinishKind.ABORT, message=f"{message}.", http_status=504)
        self.abort(sequence, finish, now, Event.EXPIRED)

    def integrity(self) -> list[str]:
        """Returns what is wrong with the pools, one sentence each."""
        computing = {Owner.request(sequence.key) for sequence in self.schedule.sequences()}
        open_rooms = {Owner.request(sequence.key) for sequence in self.rooms.values()} | self.prefix.owners
        return pool_problems("slots", self.schedule.slots, computing) + pool_problems(
            "staging", self.staging, open_rooms
        )

    def _claim_staging(self, sequence: Sequence) -> bool:
        tokens, chunk = sequence.prefill_tokens, self.schedule.chunk_tokens
        last_chunk = (tokens - 1) // chunk * chunk
        reusable = min(sequence.reusable_tokens, max(last_chunk, tokens - _LEAST_COMPUTED))
        claim = self.prefix.claim(Owner.request(sequence.key), sequence.tokens, reusable)
        if claim is None:
            return False
        sequence.staging = claim.runs
        sequence.cached = sequence.computed = sequence.sent = claim.cached * self.schedule.page_size
        if claim.cached:  # it travels while the rest is computed
            assert sequence.slot is not None
            known = slice_runs(claim.runs, 0, claim.cached)
            self.actions.append(ImportPages(sequence, sequence.slot.start, known))
            self.actions.append(WritePages(sequence, known, slice_runs(sequence.target, 0, claim.cached)))
            sequence.writes_pending += 1
        return True

    def next_step(self) -> Step | None:
        """Returns the next prompt chunks; the actions that come with it are to be done before them."""
        self.schedule.admit(self._claim_staging)
        return self.schedule.prefill_step()

    def step_done(self, step: Step, tokens: Tokens[int], now: float) -> None:
        """Takes the result of `next_step`'s step: pages that are complete travel, the first token goes out."""
        drawn = iter(tokens)
        page = self.schedule.page_size
        for span in step.spans:
            sequence = span.sequence
            sequence.computed = span.stop
            token = next(drawn) if span.sample else None
            if now >= sequence.lease_until:
                self._expire(sequence, "Decode's grant ran out before the prompt was computed", now)
                continue
            assert sequence.slot is not None
            first = sequence.sent // page
            count = (pages_for(span.stop, page) if span.sample else span.stop // page) - first
            if count:
                staging = slice_runs(sequence.staging, first, count)
                target = slice_runs(sequence.target, first, count)
                self.actions.append(ExportPages(sequence, sequence.slot.start + first, staging, target, first))
                sequence.writes_pending += 1
                sequence.sent = min((first + count) * page, span.stop)
            if token is not None:
                sequence.prompt_done_at = now
                finish = sequence.append(token)
                cached = sequence.cached_tokens
                self.actions.append(Emit(sequence.key, (token,), finish, scores=sequence.scores, cached_tokens=cached))
                self.schedule.remove(sequence)
                sequence.advance(Event.PROMPT_DONE)
                self._commit(sequence)
