"""Decisions of a prefill worker: wait for a grant, compute the prompt, stream finished pages, commit.

Who may touch a sequence's staging pages:

    AWAIT_GRANT, QUEUED               nobody, it has none
    RUNNING, FLUSHING, COMMITTING     our links read them
    DRAINING                          links may still read them; they return, and decode hears DRAINED, when the last
                                      write is over and quiet, or the transport's hard timeout after it failed

The slot returns as soon as the last chunk was copied into staging. Events in, actions out; no torch, no sockets, no
clock (`now` is passed in, in seconds).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence as Tokens
from dataclasses import dataclass

from .actions import Action, Emit, ExportPages, SendAbort, SendCommit, SendDrained
from .lifecycle import Event, State
from .pages import Owner, PagePool, Runs
from .pulse import LONGEST_GAP_S, Pulse
from .request import Finish, FinishKind
from .schedule import Schedule, Step, pages_for
from .sequence import Sequence
from .transfer.plan import slice_runs

__all__ = ["PrefillCore"]

# Rooms that decode gave up before their request arrived here, and grants that came before it: both are remembered
# for late arrivals, bounded so that a babbling peer cannot grow them.
_REMEMBERED_ROOMS = 4096


@dataclass(frozen=True, slots=True)
class _EarlyGrant:
    peer: str
    runs: Runs
    lease_until: float


class PrefillCore:
    """Grants, prompt chunks, writes and commits of one prefill worker.

    Args:
        staging: the pool of pages that links read from.
        bootstrap_timeout_s: how long a request waits for its grant.
        hard_timeout_s: after which a failed write provably touches neither source nor destination.
    """

    def __init__(
        self, schedule: Schedule, staging: PagePool, *, bootstrap_timeout_s: float, hard_timeout_s: float
    ) -> None:
        self.schedule = schedule
        self.staging = staging
        self.actions: list[Action] = []
        self.rooms: dict[int, Sequence] = {}
        self.stale_messages = 0
        self._early: OrderedDict[int, _EarlyGrant] = OrderedDict()
        self._aborted: OrderedDict[int, str] = OrderedDict()
        self._bootstrap_timeout_s = bootstrap_timeout_s
        self._hard_timeout_s = hard_timeout_s
        self._pulse = Pulse(LONGEST_GAP_S)

    def count(self, *states: State) -> int:
        """Returns how many requests are in any of the states."""
        return sum(sequence.state in states for sequence in self.rooms.values())

    def submit(self, sequence: Sequence, now: float) -> None:
        """Takes a new request; a grant that came first is used at once."""
        sequence.deadline = now + self._bootstrap_timeout_s
        self.rooms[sequence.room] = sequence
        if (reason := self._aborted.pop(sequence.room, None)) is not None:
            self.abort(sequence, Finish(FinishKind.ABORT, message=reason, http_status=502), now, tell_peer=False)
        elif (early := self._early.pop(sequence.room, None)) is not None:
            self.grant(early.peer, sequence.room, early.runs, early.lease_until, now)

    def grant(self, peer: str, room: int, runs: Runs, lease_until: float, now: float) -> None:
        """Decode names the pages to write; the request may not have arrived yet.

        Args:
            lease_until: on the clock that both sides share; no write into the pages may start after it.
        """
        sequence = self.rooms.get(room)
        if sequence is None:
            self._early[room] = _EarlyGrant(peer, runs, lease_until)
            while len(self._early) > _REMEMBERED_ROOMS:
                self._early.popitem(last=False)
            return
        pages = sum(run.count for run in runs)
        needed = pages_for(sequence.prefill_tokens, self.schedule.page_size)
        if not sequence.advance(Event.GRANT):
            self.stale_messages += 1
            return
        sequence.peer, sequence.target, sequence.lease_until = peer, runs, lease_until
        if pages != needed:
            message = f"Decode granted {pages} pages where the prompt needs {needed}."
            self.abort(sequence, Finish(FinishKind.ABORT, message=message, http_status=502), now)
            return
        self.schedule.waiting.append(sequence)

    def abort(self, sequence: Sequence, finish: Finish, now: float, *, tell_peer: bool = True) -> None:
        """Gives a request up; staging pages return when no write of ours is under way."""
        before = sequence.state
        if not sequence.advance(Event.ABORT):
            return
        sequence.expires_at = math.inf
        if sequence.peer and tell_peer:
            self.actions.append(SendAbort(sequence.peer, sequence.room, finish.message))
        self.schedule.remove(sequence)
        if sequence.finish is None:  # else its first token ended it, and the listener knows
            self.actions.append(Emit(sequence.key, finish=finish))
        if before in (State.AWAIT_GRANT, State.QUEUED):
            self._close(sequence, drained=True)
        elif sequence.writes_pending == 0 and not sequence.quiet_at:
            self._drained(sequence)

    def _drained(self, sequence: Sequence) -> None:
        sequence.advance(Event.DRAINED)
        self._close(sequence, drained=True)

    def _close(self, sequence: Sequence, *, drained: bool) -> None:
        del self.rooms[sequence.room]
        if sequence.staging:
            self.staging.release(sequence.staging, Owner.request(sequence.key))
            sequence.staging = ()
        if sequence.peer and drained:
            self.actions.append(SendDrained(sequence.peer, sequence.room))

    def peer_aborted(self, peer: str, room: int, reason: str, now: float) -> None:
        """Decode gave the room up; a request that has not arrived yet is refused when it does."""
        self._early.pop(room, None)
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
            self.abort(sequence, finish, now, tell_peer=False)

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
            self.actions.append(SendCommit(sequence, sequence.tokens[sequence.prefill_tokens]))

    def tick(self, now: float) -> None:
        """Gives up requests that got no grant in time and ends those whose failed writes are quiet by now."""
        for sequence in [s for s in self.rooms.values() if now >= s.expires_at]:
            self.abort(sequence, sequence.time_is_over(), now)
        for sequence in [s for s in self.rooms.values() if s.state is State.AWAIT_GRANT and now >= s.deadline]:
            message = f"No decode worker granted pages within {self._bootstrap_timeout_s:g} s."
            self.abort(sequence, Finish(FinishKind.ABORT, message=message, http_status=504), now)
        lost = self._pulse.lost(now)  # our transport slept, too, and goes on with its writes only now
        for sequence in [s for s in self.rooms.values() if s.state is State.DRAINING]:
            sequence.quiet_at += lost if sequence.quiet_at else 0.0
            if not sequence.writes_pending and now >= sequence.quiet_at:
                self._drained(sequence)

    def _claim_staging(self, sequence: Sequence) -> bool:
        pages = pages_for(sequence.prefill_tokens, self.schedule.page_size)
        runs = self.staging.alloc(pages, Owner.request(sequence.key))
        if runs is None:
            return False
        sequence.staging = runs
        return True

    def next_step(self) -> Step | None:
        """Returns the next prompt chunks."""
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
                message = "Decode's grant ran out before the prompt was computed."
                self.abort(sequence, Finish(FinishKind.ABORT, message=message, http_status=504), now)
                continue
            assert sequence.slot is not None
            first = sequence.sent // page
            count = (pages_for(span.stop, page) if span.sample else span.stop // page) - first
            if count:
                staging = slice_runs(sequence.staging, first, count)
                target = slice_runs(sequence.target, first, count)
                self.actions.append(ExportPages(sequence, sequence.slot.start + first, staging, target))
                sequence.writes_pending += 1
                sequence.sent = min((first + count) * page, span.stop)
            if token is not None:
                self.actions.append(Emit(sequence.key, (token,), sequence.append(token)))
                self.schedule.remove(sequence)
                sequence.advance(Event.PROMPT_DONE)
