"""The life of a request on each kind of worker, as tables.

Everything that may happen to a request's state stands in this file: a (state, event) pair either moves the request,
is stale (it may arrive late and is counted, never acted upon) or is a bug of ours and raises. The cores
(`prefill_core`, `decode_core`, `unified_core`) decide what is done on a move. Knows nothing of pages, tensors,
sockets or clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from .errors import LocalProtocolError

__all__ = ["DECODE", "PREFILL", "UNIFIED", "Event", "LifeCycle", "State"]


class State(Enum):
    """Where a request stands; not every worker knows every state."""

    AWAIT_GRANT = auto()  # prefill: decode has not granted pages yet
    AWAIT_PAGES = auto()  # decode: waiting for a slot and staging pages
    GRANTED = auto()  # decode: prefill may write the granted pages
    QUEUED = auto()  # waiting for a slot to compute in
    RUNNING = auto()  # computing: prompt chunks, or token by token
    FLUSHING = auto()  # prefill: prompt computed, writes still under way
    COMMITTING = auto()  # prefill: all written, waiting for decode's acknowledgement
    DRAINING = auto()  # prefill: given up, writes still under way
    FENCING = auto()  # decode: given up, prefill may still write the granted pages
    CLOSED = auto()  # over: exactly one finish was sent


class Event(Enum):
    """What moves a request."""

    GRANT = auto()  # decode's grant arrived at prefill
    PAGES = auto()  # decode allocated slot and staging pages
    ADMIT = auto()  # the scheduler gave it a slot
    PROMPT_DONE = auto()  # the last prompt chunk was computed
    FLUSHED = auto()  # the last write completed
    COMMIT = auto()  # prefill's commit arrived at decode
    ACK = auto()  # decode's acknowledgement arrived at prefill
    STOP = auto()  # it produced its last token
    PREEMPT = auto()  # it lost its slot to older requests
    ABORT = auto()  # client, peer, transfer or deadline gave it up
    DRAINED = auto()  # no write of the other side (or ours) can happen any more


@dataclass(frozen=True, slots=True)
class LifeCycle:
    """One worker kind's transition table.

    Attributes:
        moves: (state, event) -> next state.
        stale: pairs that a slow network or a race can produce; they change nothing.
    """

    name: str
    start: State
    moves: Mapping[tuple[State, Event], State]
    stale: frozenset[tuple[State, Event]]

    def next(self, state: State, event: Event) -> State | None:
        """Returns the state after `event`, or None when the event is stale.

        Raises:
            LocalProtocolError: the pair can only come from a bug of ours; the state is unchanged.
        """
        target = self.moves.get((state, event))
        if target is None and (state, event) not in self.stale:
            raise LocalProtocolError(f"{self.name}: event {event.name} cannot happen in state {state.name}.")
        return target

    @property
    def states(self) -> frozenset[State]:
        """The states that this worker kind knows."""
        return frozenset({self.start, *(state for state, _ in self.moves), *self.moves.values()})


PREFILL = LifeCycle(
    name="prefill",
    start=State.AWAIT_GRANT,
    moves={
        (State.AWAIT_GRANT, Event.GRANT): State.QUEUED,
        (State.AWAIT_GRANT, Event.ABORT): State.CLOSED,
        (State.QUEUED, Event.ADMIT): State.RUNNING,
        (State.QUEUED, Event.ABORT): State.CLOSED,
        (State.RUNNING, Event.PROMPT_DONE): State.FLUSHING,
        (State.RUNNING, Event.ABORT): State.DRAINING,
        (State.FLUSHING, Event.FLUSHED): State.COMMITTING,
        (State.FLUSHING, Event.ABORT): State.DRAINING,
        (State.COMMITTING, Event.ACK): State.CLOSED,
        (State.COMMITTING, Event.ABORT): State.DRAINING,
        (State.DRAINING, Event.DRAINED): State.CLOSED,
    },
    stale=frozenset(
        {
            (State.QUEUED, Event.GRANT),
            (State.RUNNING, Event.GRANT),
            (State.FLUSHING, Event.GRANT),
            (State.COMMITTING, Event.GRANT),
            (State.DRAINING, Event.GRANT),
            (State.DRAINING, Event.ACK),
            (State.DRAINING, Event.ABORT),
            (State.CLOSED, Event.GRANT),
            (State.CLOSED, Event.ACK),
            (State.CLOSED, Event.ABORT),
        }
    ),
)

DECODE = LifeCycle(
    name="decode",
    start=State.AWAIT_PAGES,
    moves={
        (State.AWAIT_PAGES, Event.PAGES): State.GRANTED,
        (State.AWAIT_PAGES, Event.ABORT): State.CLOSED,
        (State.GRANTED, Event.COMMIT): State.RUNNING,
        (State.GRANTED, Event.ABORT): State.FENCING,
        (State.RUNNING, Event.STOP): State.CLOSED,
        (State.RUNNING, Event.ABORT): State.CLOSED,
        (State.RUNNING, Event.PREEMPT): State.QUEUED,
        (State.QUEUED, Event.ADMIT): State.RUNNING,
        (State.QUEUED, Event.ABORT): State.CLOSED,
        (State.FENCING, Event.DRAINED): State.CLOSED,
    },
    stale=frozenset(
        {
            (State.RUNNING, Event.COMMIT),
            (State.QUEUED, Event.COMMIT),
            (State.FENCING, Event.COMMIT),
            (State.FENCING, Event.ABORT),
            (State.CLOSED, Event.COMMIT),
            (State.CLOSED, Event.ABORT),
            (State.CLOSED, Event.DRAINED),
        }
    ),
)

UNIFIED = LifeCycle(
    name="unified",
    start=State.QUEUED,
    moves={
        (State.QUEUED, Event.ADMIT): State.RUNNING,
        (State.QUEUED, Event.ABORT): State.CLOSED,
        (State.RUNNING, Event.STOP): State.CLOSED,
        (State.RUNNING, Event.ABORT): State.CLOSED,
        (State.RUNNING, Event.PREEMPT): State.QUEUED,
    },
    stale=frozenset({(State.CLOSED, Event.ABORT)}),
)
