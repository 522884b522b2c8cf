"""The life of a request on each kind of worker, as tables.

Everything that may happen to a request's state stands in this file: each (state, event) pair of a table moves the
request, is stale (a slow network or a race can produce it; it is counted, never acted upon), or is impossible: a bug
of ours, which raises. What a peer or a client sends is never impossible. The cores (`prefill_core`, `decode_core`,
`unified_core`) decide what is done on a move; docs/life-cycle.md is drawn from here. Knows nothing of pages, tensors,
sockets or clocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from .errors import LocalProtocolError

__all__ = ["DECODE", "PREFILL", "UNIFIED", "Event", "LifeCycle", "State", "pairs"]


class State(Enum):
    """Where a request stands; not every worker knows every state. The values say it in words."""

    AWAIT_GRANT = "decode has not granted pages yet"
    AWAIT_PAGES = "waiting for a slot and staging pages"
    GRANTED = "prefill may write the granted pages"
    QUEUED = "waiting for a slot to compute in"
    RUNNING = "computing: prompt chunks, or token by token"
    FLUSHING = "prompt computed, writes still under way"
    COMMITTING = "all written, waiting for decode's acknowledgement"
    DRAINING = "given up and answered; writes may still be under way"
    FENCING = "given up and answered; prefill may still write the granted pages"
    CLOSED = "over: exactly one finish was sent, no page is owned"


class Event(Enum):
    """What moves a request. The values say it in words."""

    GRANT = "decode's grant arrived at prefill"
    PAGES = "decode allocated slot and staging pages"
    ADMIT = "the scheduler gave it a slot"
    PROMPT_DONE = "the last prompt chunk was computed"
    FLUSHED = "the last write completed"
    COMMIT = "prefill's commit arrived at decode"
    RESEND = "the commit is not acknowledged yet and is sent again"
    ACK = "decode's acknowledgement arrived at prefill"
    STOP = "it produced its last token"
    PREEMPT = "it lost its slot to older requests"
    ABORT = "client, other half, a failed write or the scheduler gave it up"
    DEADLINE = "the time that its client gave it is over"
    EXPIRED = "the time limit of the state is over"
    PEER_LOST = "the connection to the other half's worker ended"
    REPLACED = "another process answers at the peer's address"
    DRAINED = "no write of the other side (or ours) can happen any more"


_S = TypeVar("_S", bound=Enum)
_E = TypeVar("_E", bound=Enum)


def pairs(table: Mapping[_S, Iterable[_E]]) -> frozenset[tuple[_S, _E]]:
    """Returns the (state, event) pairs of a table of events by state."""
    return frozenset((state, event) for state, events in table.items() for event in events)


@dataclass(frozen=True, slots=True)
class LifeCycle(Generic[_S, _E]):
    """One transition table.

    Attributes:
        moves: (state, event) -> next state, which may be the same.
        stale: pairs that a slow network or a race can produce; they change nothing.
        impossible: pairs that only a bug of ours can produce.
    """

    name: str
    start: _S
    moves: Mapping[tuple[_S, _E], _S]
    stale: frozenset[tuple[_S, _E]]
    impossible: frozenset[tuple[_S, _E]] = frozenset()

    def next(self, state: _S, event: _E) -> _S | None:
        """Returns the state after `event`, or None when the event is stale.

        Raises:
            LocalProtocolError: the pair can only come from a bug of ours; the state is unchanged.
        """
        target = self.moves.get((state, event))
        if target is None and (state, event) not in self.stale:
            raise LocalProtocolError(f"{self.name}: event {event.name} cannot happen in state {state.name}.")
        return target

    @property
    def states(self) -> frozenset[_S]:
        """The states of this table."""
        return frozenset({self.start, *(state for state, _ in self.moves), *self.moves.values()})

    @property
    def events(self) -> frozenset[_E]:
        """The events of this table."""
        return frozenset(event for _, event in (*self.moves, *self.stale, *self.impossible))

    def gaps(self) -> frozenset[tuple[_S, _E]]:
        """Returns the pairs that stand in none of the three parts; a table has none."""
        known = {*self.moves, *self.stale, *self.impossible}
        return frozenset((s, e) for s in self.states for e in self.events if (s, e) not in known)


def _each(state: State, events: Iterable[Event], target: State) -> dict[tuple[State, Event], State]:
    return {(state, event): target for event in events}


# The ways in which a request is given up while both halves are at work.
_GIVEN_UP = (Event.ABORT, Event.DEADLINE, Event.PEER_LOST, Event.REPLACED)
_WORK = (Event.ADMIT, Event.PROMPT_DONE, Event.FLUSHED, Event.RESEND)
_MESSAGES_TO_PREFILL = (Event.GRANT, Event.ACK)

PREFILL = LifeCycle(
    name="prefill",
    start=State.AWAIT_GRANT,
    moves={
        (State.AWAIT_GRANT, Event.GRANT): State.QUEUED,
        **_each(State.AWAIT_GRANT, (Event.ABORT, Event.DEADLINE, Event.EXPIRED), State.CLOSED),
        (State.QUEUED, Event.ADMIT): State.RUNNING,
        **_each(State.QUEUED, (*_GIVEN_UP, Event.EXPIRED), State.CLOSED),
        (State.RUNNING, Event.PROMPT_DONE): State.FLUSHING,
        **_each(State.RUNNING, (*_GIVEN_UP, Event.EXPIRED), State.DRAINING),
        (State.FLUSHING, Event.FLUSHED): State.COMMITTING,
        **_each(State.FLUSHING, _GIVEN_UP, State.DRAINING),
        (State.COMMITTING, Event.ACK): State.CLOSED,
        (State.COMMITTING, Event.RESEND): State.COMMITTING,
        # Decode may have taken the commit; its acknowledgement comes after it connected again, or EXPIRED does.
        (State.COMMITTING, Event.PEER_LOST): State.COMMITTING,
        **_each(State.COMMITTING, (Event.ABORT, Event.DEADLINE, Event.REPLACED, Event.EXPIRED), State.DRAINING),
        **_each(State.DRAINING, (Event.DRAINED, Event.EXPIRED), State.CLOSED),
    },
    stale=pairs({
        State.AWAIT_GRANT: (Event.ACK,),
        State.QUEUED: _MESSAGES_TO_PREFILL,
        State.RUNNING: _MESSAGES_TO_PREFILL,
        State.FLUSHING: _MESSAGES_TO_PREFILL,
        State.COMMITTING: (Event.GRANT,),
        State.DRAINING: (*_MESSAGES_TO_PREFILL, Event.ABORT, Event.PEER_LOST, Event.REPLACED),
        State.CLOSED: (*_MESSAGES_TO_PREFILL, Event.ABORT),
    }),
    impossible=pairs({
        # It has no peer before the grant, so that none can be lost.
        State.AWAIT_GRANT: (*_WORK, Event.PEER_LOST, Event.REPLACED, Event.DRAINED),
        State.QUEUED: (Event.PROMPT_DONE, Event.FLUSHED, Event.RESEND, Event.DRAINED),
        State.RUNNING: (Event.ADMIT, Event.FLUSHED, Event.RESEND, Event.DRAINED),
        # No write may begin after the lease; those of FLUSHING have all been given to the link, which keeps it.
        State.FLUSHING: (Event.ADMIT, Event.PROMPT_DONE, Event.RESEND, Event.EXPIRED, Event.DRAINED),
        State.COMMITTING: (Event.ADMIT, Event.PROMPT_DONE, Event.FLUSHED, Event.DRAINED),
        State.DRAINING: (*_WORK, Event.DEADLINE),
        State.CLOSED: (*_WORK, Event.DEADLINE, Event.EXPIRED, Event.PEER_LOST, Event.REPLACED, Event.DRAINED),
    }),
)  # fmt: skip

DECODE = LifeCycle(
    name="decode",
    start=State.AWAIT_PAGES,
    moves={
        (State.AWAIT_PAGES, Event.PAGES): State.GRANTED,
        **_each(State.AWAIT_PAGES, (Event.ABORT, Event.DEADLINE, Event.PEER_LOST), State.CLOSED),
        (State.GRANTED, Event.COMMIT): State.RUNNING,
        **_each(State.GRANTED, (Event.ABORT, Event.DEADLINE, Event.EXPIRED, Event.PEER_LOST), State.FENCING),
        **_each(State.RUNNING, (Event.STOP, Event.ABORT, Event.DEADLINE), State.CLOSED),
        (State.RUNNING, Event.PREEMPT): State.QUEUED,
        (State.QUEUED, Event.ADMIT): State.RUNNING,
        **_each(State.QUEUED, (Event.ABORT, Event.DEADLINE), State.CLOSED),
        **_each(State.FENCING, (Event.DRAINED, Event.REPLACED, Event.EXPIRED), State.CLOSED),
    },
    stale=pairs({
        # The process that was replaced had been lost before: what is not fenced since then is for the new one.
        State.AWAIT_PAGES: (Event.COMMIT, Event.REPLACED, Event.DRAINED),
        State.GRANTED: (Event.REPLACED,),
        # All its KV is here: what becomes of prefill does not matter any more.
        State.RUNNING: (Event.COMMIT, Event.PEER_LOST, Event.REPLACED, Event.DRAINED),
        State.QUEUED: (Event.COMMIT, Event.PEER_LOST, Event.REPLACED, Event.DRAINED),
        State.FENCING: (Event.COMMIT, Event.ABORT, Event.PEER_LOST),
        State.CLOSED: (Event.COMMIT, Event.ABORT, Event.PEER_LOST, Event.REPLACED, Event.DRAINED),
    }),
    impossible=pairs({
        State.AWAIT_PAGES: (Event.ADMIT, Event.STOP, Event.PREEMPT, Event.EXPIRED),
        # Prefill that is done without a commit has given the request up: the core takes that as ABORT first.
        State.GRANTED: (Event.PAGES, Event.ADMIT, Event.STOP, Event.PREEMPT, Event.DRAINED),
        State.RUNNING: (Event.PAGES, Event.ADMIT, Event.EXPIRED),
        State.QUEUED: (Event.PAGES, Event.STOP, Event.PREEMPT, Event.EXPIRED),
        State.FENCING: (Event.PAGES, Event.ADMIT, Event.STOP, Event.PREEMPT, Event.DEADLINE),
        State.CLOSED: (Event.PAGES, Event.ADMIT, Event.STOP, Event.PREEMPT, Event.DEADLINE, Event.EXPIRED),
    }),
)  # fmt: skip

UNIFIED = LifeCycle(
    name="unified",
    start=State.QUEUED,
    moves={
        (State.QUEUED, Event.ADMIT): State.RUNNING,
        **_each(State.QUEUED, (Event.ABORT, Event.DEADLINE), State.CLOSED),
        **_each(State.RUNNING, (Event.STOP, Event.ABORT, Event.DEADLINE), State.CLOSED),
        (State.RUNNING, Event.PREEMPT): State.QUEUED,
    },
    stale=pairs({State.CLOSED: (Event.ABORT,)}),
    impossible=pairs({
        State.QUEUED: (Event.STOP, Event.PREEMPT),
        State.RUNNING: (Event.ADMIT,),
        State.CLOSED: (Event.ADMIT, Event.STOP, Event.PREEMPT, Event.DEADLINE),
    }),
)  # fmt: skip
