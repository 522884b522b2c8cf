"""The tables are total: every (state, event) pair moves, is stale, or raises."""

import itertools

import pytest
from pdpanel.engine.errors import LocalProtocolError
from pdpanel.engine.lifecycle import DECODE, PREFILL, UNIFIED, Event, LifeCycle, State

CYCLES = pytest.mark.parametrize("cycle", [PREFILL, DECODE, UNIFIED], ids=lambda cycle: cycle.name)


@CYCLES
def test_every_pair_moves_is_stale_or_raises(cycle: LifeCycle) -> None:
    for state, event in itertools.product(cycle.states, Event):
        if (state, event) in cycle.moves:
            assert (state, event) not in cycle.stale
            assert cycle.next(state, event) is cycle.moves[state, event]
        elif (state, event) in cycle.stale:
            assert cycle.next(state, event) is None
        else:
            with pytest.raises(LocalProtocolError, match=f"{event.name}.*{state.name}"):
                cycle.next(state, event)


@CYCLES
def test_closed_is_final_and_reachable_by_abort_from_everywhere(cycle: LifeCycle) -> None:
    assert not [state for state, _ in cycle.moves if state is State.CLOSED]
    for state in cycle.states - {State.CLOSED}:
        after = cycle.next(state, Event.ABORT)
        if after in (State.DRAINING, State.FENCING):
            after = cycle.next(after, Event.DRAINED)
        elif after is None:  # given up already; what it waits for is the other side's silence
            after = cycle.next(state, Event.DRAINED)
        assert after is State.CLOSED, state


@CYCLES
def test_every_state_is_reached_from_the_start(cycle: LifeCycle) -> None:
    reached = {cycle.start}
    while True:
        more = {after for (state, _), after in cycle.moves.items() if state in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == cycle.states
