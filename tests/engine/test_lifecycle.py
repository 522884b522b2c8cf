"""The tables are total: every (state, event) pair moves, is stale, or is named as impossible and raises."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from pdpanel.engine.errors import LocalProtocolError
from pdpanel.engine.life_cycle_doc import CYCLES as ALL_CYCLES
from pdpanel.engine.lifecycle import DECODE, PREFILL, UNIFIED, Event, LifeCycle, State

ALL = pytest.mark.parametrize("cycle", [cycle for cycle, _ in ALL_CYCLES.values()], ids=lambda cycle: cycle.name)
WORKERS = pytest.mark.parametrize("cycle", [PREFILL, DECODE, UNIFIED], ids=lambda cycle: cycle.name)


@ALL
def test_every_pair_moves_is_stale_or_is_impossible(cycle: LifeCycle[Any, Any]) -> None:
    assert cycle.gaps() == frozenset()
    for state, event in itertools.product(cycle.states, cycle.events):
        places = [(state, event) in part for part in (cycle.moves, cycle.stale, cycle.impossible)]
        assert sum(places) == 1, (state, event)
        if (state, event) in cycle.moves:
            assert cycle.next(state, event) is cycle.moves[state, event]
        elif (state, event) in cycle.stale:
            assert cycle.next(state, event) is None
        else:
            with pytest.raises(LocalProtocolError, match=f"{event.name}.*{state.name}"):
                cycle.next(state, event)


def test_a_gap_is_found() -> None:
    cycle = LifeCycle("short", State.QUEUED, {(State.QUEUED, Event.ADMIT): State.RUNNING}, frozenset())
    assert cycle.gaps() == {(State.RUNNING, Event.ADMIT)}


@WORKERS
def test_an_event_of_another_worker_raises(cycle: LifeCycle[State, Event]) -> None:
    for event in set(Event) - cycle.events:
        for state in cycle.states:
            with pytest.raises(LocalProtocolError):
                cycle.next(state, event)


def test_every_event_moves_somebody() -> None:
    assert {event for cycle in (PREFILL, DECODE, UNIFIED) for _, event in cycle.moves} == set(Event)


@WORKERS
@pytest.mark.parametrize("event", [Event.ABORT, Event.DEADLINE])
def test_whoever_gives_up_closes_every_state(cycle: LifeCycle[State, Event], event: Event) -> None:
    assert not [state for state, _ in cycle.moves if state is State.CLOSED]
    answered = {State.DRAINING, State.FENCING, State.CLOSED}
    for state in cycle.states - answered:
        after = cycle.next(state, event)
        assert after in answered, "the client has its answer"
        for end in (Event.DRAINED, Event.EXPIRED) if after is not State.CLOSED and after is not None else ():
            assert cycle.next(after, end) is State.CLOSED


@pytest.mark.parametrize(
    ("cycle", "messages"),
    [
        (PREFILL, (Event.GRANT, Event.ACK, Event.ABORT)),
        (DECODE, (Event.COMMIT, Event.ABORT)),
    ],
    ids=["prefill", "decode"],
)
def test_what_peers_and_clients_send_is_never_impossible(
    cycle: LifeCycle[State, Event], messages: tuple[Event, ...]
) -> None:
    assert not [pair for pair in cycle.impossible if pair[1] in messages]


@ALL
def test_every_state_is_reached_from_the_start(cycle: LifeCycle[Any, Any]) -> None:
    reached = {cycle.start}
    while more := {after for (state, _), after in cycle.moves.items() if state in reached} - reached:
        reached |= more
    assert reached == cycle.states
