"""What must hold as soon as a core was told something of the other half.

Leases and deadlines end everything some day, also in a core that heard nothing: these looks right behind each word
find it. Each takes the cores of all groups of a worker, whose only peer is the other half.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pdpanel.engine.actions import Action, SendAbort
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.lifecycle import State
from pdpanel.engine.prefill_core import PrefillCore
from pdpanel.engine.sequence import Sequence as Request

__all__ = [
    "aborted_at_decode",
    "aborted_at_prefill",
    "acknowledged",
    "arrived",
    "committed",
    "decode_dead",
    "drained",
    "granted",
    "joined",
    "left",
    "lost_at_decode",
    "lost_at_prefill",
    "replaced_at_decode",
    "replaced_at_prefill",
]

_AT_WORK = (State.QUEUED, State.RUNNING, State.FLUSHING)
_RECONNECT_S, _REPLACED_S = 0.75, 1.0


def _rooms(cores: Sequence[PrefillCore], room: int) -> list[Request]:
    return [core.rooms[room] for core in cores if room in core.rooms]


def left(request: Request) -> None:
    """A client left."""
    assert request.state in (State.CLOSED, State.DRAINING, State.FENCING), "its request goes on"


def lost_at_prefill(cores: Sequence[PrefillCore], now: float) -> None:
    """The connection to decode ended."""
    assert not any(core.early_grants for core in cores), "a grant of a lost peer stays"
    assert not any(core.count(*_AT_WORK) for core in cores), "work for a lost peer goes on"
    for core in cores:
        waiting = [one for one in core.rooms.values() if one.state is State.COMMITTING]
        assert all(one.deadline <= now + _RECONNECT_S for one in waiting), "a commit waits for a lost peer"


def replaced_at_prefill(cores: Sequence[PrefillCore]) -> None:
    """Another decode process answers."""
    for core in cores:
        assert not core.count(*_AT_WORK, State.COMMITTING), "what the old process had goes on"


def granted(cores: Sequence[PrefillCore], room: int) -> None:
    """Decode named pages."""
    assert any(core.knows(room) for core in cores), "nobody remembers the grant"
    assert not any(one.state is State.AWAIT_GRANT for one in _rooms(cores, room)), "it waits on"


def aborted_at_prefill(cores: Sequence[PrefillCore], room: int) -> None:
    """Decode gave the room up."""
    assert all(one.state is State.DRAINING for one in _rooms(cores, room)), "it goes on at prefill"


def acknowledged(cores: Sequence[PrefillCore], room: int) -> None:
    """Decode took the commit, or knows nothing of it."""
    assert not any(one.state is State.COMMITTING for one in _rooms(cores, room)), "its answer was not heard"


def lost_at_decode(cores: Sequence[DecodeCore], unsent: Collection[int]) -> None:
    """The connection to prefill ended."""
    for core in cores:
        assert not core.awaiting and not core.granted, "pages wait for a lost peer"
        assert all(fence.is_lost for fence in core.fences.values()), "a fence waits for a lost peer's word"
        assert not core.fences.keys() & set(unsent), "pages that nobody knows of are fenced"


def joined(cores: Sequence[DecodeCore], actions: Sequence[Action]) -> None:
    """Prefill is connected again."""
    asked = {action.room for action in actions if isinstance(action, SendAbort)}
    assert all(core.fences.keys() <= asked for core in cores), "nobody asks for the fenced pages"


def replaced_at_decode(cores: Sequence[DecodeCore], now: float) -> None:
    """Another prefill process answers."""
    _fences_end(cores, now + _REPLACED_S)


def decode_dead(cores: Sequence[DecodeCore], now: float, hard_timeout_s: float) -> None:
    """Prefill's process has ended."""
    _fences_end(cores, now + hard_timeout_s)


def _fences_end(cores: Sequence[DecodeCore], until: float) -> None:
    lost = [fence for core in cores for fence in core.fences.values() if fence.is_lost]
    assert all(fence.until <= until for fence in lost), "a fence outlasts what can be written"


def arrived(cores: Sequence[DecodeCore], room: int, tokens: int) -> None:
    """So many of the room's tokens are written, or all that there are."""
    for core in cores:
        if (request := core.granted.get(room)) is not None:
            assert request.computed >= min(tokens, request.prefill_tokens), "they are not copied"


def committed(cores: Sequence[DecodeCore], room: int) -> None:
    """All is written."""
    assert not any(room in core.granted for core in cores), "the commit was not taken"


def drained(cores: Sequence[DecodeCore], room: int, now: float) -> None:
    """Prefill writes there no more."""
    committed(cores, room)
    fences = [core.fences[room] for core in cores if room in core.fences]
    soon = now + 1.0  # where decode has just stood still
    assert all(fence.why == "replaced" or fence.until <= soon for fence in fences), "the pages stay fenced"


def aborted_at_decode(cores: Sequence[DecodeCore], room: int) -> None:
    """Prefill gave the room up."""
    committed(cores, room)
    assert not any(one.room == room for core in cores for one in core.awaiting), "it waits on"
