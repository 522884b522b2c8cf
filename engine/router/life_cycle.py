"""The life of a client's request at the router, as a table, and what a failed try makes of it.

    the try that failed            the client has nothing       the client has events
    another may succeed            RETRYING, then again         REPLAYING, then on behind its last token
    but the end was told already   -                            DONE: only `[DONE]` was missing
    no other is possible           REFUSED: a status            BROKEN: an error event and `[DONE]`

    prefill relayed its token, decode fails before it streams    replay: decode's events have the same numbers
    prefill fails before its token, decode has not answered      retry
    prefill fails after its token, decode has not answered       decode decides for a moment, then replay
    prefill fails, decode streams or has answered                decode decides
    both fail                                                    one failure, that of the first; one more try
    a role has nobody to ask                                     no try: RETRYING or REPLAYING until somebody is back
    a second failure while the stream goes on elsewhere          another replay, as long as tries and time last

Pure: `relay` and `tries` move a request through it, `stream` when the first bytes leave. Every request ends in exactly
one of DONE, REFUSED, BROKEN and ABANDONED, so its client is told exactly once.
"""

from __future__ import annotations

from enum import Enum

from ..lifecycle import LifeCycle, pairs

__all__ = ["REQUEST", "Event", "Life", "State", "verdict"]


class State(Enum):
    """Where a client's request stands. The values say it in words."""

    QUEUED = "waits for a place"
    DISPATCHED = "a try is under way, the client has nothing"
    STREAMING = "a try is under way, the client has events"
    RETRYING = "before another try, or until there is a worker; the client has nothing"
    REPLAYING = "before another try, or until there is a worker; the client has events"
    DONE = "answered in whole, or its stream ended well"
    REFUSED = "answered with an error's status"
    BROKEN = "its stream ended with an error event"
    ABANDONED = "the client left"


class Event(Enum):
    """What moves it. The values say it in words."""

    PLACE = "it was admitted"
    BEGIN = "the first events go to the client"
    END = "the answer is complete"
    AGAIN = "the try failed, another one may succeed; or there is no worker yet"
    WHOLE = "the try failed, but the client has the end of the answer"
    FAIL = "no try is left; or deadline, shutdown, an abort"
    NEXT = "the next try begins"
    LEAVE = "the client closed its connection"


_ENDS = (State.DONE, State.REFUSED, State.BROKEN, State.ABANDONED)
_OPEN_EVENTS = (Event.PLACE, Event.BEGIN, Event.END, Event.AGAIN, Event.WHOLE, Event.NEXT)

REQUEST: LifeCycle[State, Event] = LifeCycle(
    name="request",
    start=State.QUEUED,
    moves={
        (State.QUEUED, Event.PLACE): State.DISPATCHED,
        (State.QUEUED, Event.FAIL): State.REFUSED,
        (State.DISPATCHED, Event.BEGIN): State.STREAMING,
        (State.DISPATCHED, Event.END): State.DONE,
        (State.DISPATCHED, Event.AGAIN): State.RETRYING,
        (State.DISPATCHED, Event.FAIL): State.REFUSED,
        (State.STREAMING, Event.END): State.DONE,
        (State.STREAMING, Event.AGAIN): State.REPLAYING,
        (State.STREAMING, Event.WHOLE): State.DONE,
        (State.STREAMING, Event.FAIL): State.BROKEN,
        (State.RETRYING, Event.NEXT): State.DISPATCHED,
        (State.RETRYING, Event.FAIL): State.REFUSED,
        (State.REPLAYING, Event.NEXT): State.STREAMING,
        (State.REPLAYING, Event.FAIL): State.BROKEN,
        **{
            (state, Event.LEAVE): State.ABANDONED
            for state in (State.QUEUED, State.DISPATCHED, State.STREAMING, State.RETRYING, State.REPLAYING)
        },
    },
    # A client that leaves, or a stop, may come just behind the end.
    stale=pairs(dict.fromkeys(_ENDS, (Event.FAIL, Event.LEAVE))),
    impossible=pairs({
        State.QUEUED: (Event.BEGIN, Event.END, Event.AGAIN, Event.WHOLE, Event.NEXT),
        State.DISPATCHED: (Event.PLACE, Event.WHOLE, Event.NEXT),
        State.STREAMING: (Event.PLACE, Event.BEGIN, Event.NEXT),
        # Both halves have been cancelled before the next try is chosen.
        State.RETRYING: (Event.PLACE, Event.BEGIN, Event.END, Event.AGAIN, Event.WHOLE),
        State.REPLAYING: (Event.PLACE, Event.BEGIN, Event.END, Event.AGAIN, Event.WHOLE),
        **dict.fromkeys(_ENDS, _OPEN_EVENTS),
    }),
)  # fmt: skip


class Life:
    """One request's place in the table."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = REQUEST.start

    def on(self, event: Event) -> bool:
        """Moves the request; returns False when `event` came too late to matter.

        Raises:
            LocalProtocolError: a bug of ours.
        """
        target = REQUEST.next(self.state, event)
        if target is None:
            return False
        self.state = target
        return True

    @property
    def started(self) -> bool:
        """True when the client has events and no end yet."""
        return self.state in (State.STREAMING, State.REPLAYING)


def verdict(life: Life, *, may_retry: bool, may_replay: bool, is_told: bool, is_complete: bool) -> Event:
    """Returns what a failed try means.

    Args:
        may_retry: the failure is one that another try may avoid, and one is left.
        may_replay: the events that the client has can be continued.
        is_told: the client has the event with the finish reason.
        is_complete: it has all that it asked for behind that, too.
    """
    if life.started and is_told and is_complete:
        return Event.WHOLE
    if may_retry and (may_replay or not life.started):
        return Event.AGAIN
    return Event.WHOLE if life.started and is_told else Event.FAIL
