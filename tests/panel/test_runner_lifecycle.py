from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import LocalProtocolError
from pdpanel.panel.runner.lifecycle import (
    ENDED,
    FINAL,
    TRANSITIONS,
    ProcessEvent,
    ProcessState,
    RunState,
    run_state,
    transition,
)

P = ProcessState


def test_the_table_has_every_pair() -> None:
    assert set(TRANSITIONS) == set(itertools.product(ProcessState, ProcessEvent))


def test_an_illegal_event_raises() -> None:
    illegal = [pair for pair, after in TRANSITIONS.items() if after is None]
    assert (P.PENDING, ProcessEvent.READY) in illegal
    for state, event in illegal:
        with pytest.raises(LocalProtocolError, match=f"{state}.*{event}"):
            transition(state, event)


@pytest.mark.parametrize(
    ("events", "after"),
    [
        ("spawn ready", P.READY),
        ("spawn ready stop exit gone", P.STOPPED),
        ("spawn exit", P.CRASHED),
        ("spawn fail exit gone", P.CRASHED),
        ("spawn ready exit gone stop gone", P.CRASHED),
        ("spawn ready exit spawn ready", P.READY),
        ("spawn ready stop ready gone spawn", P.STARTING),
        ("stop spawn", P.STARTING),
        ("fail", P.CRASHED),
        ("spawn ready exit retry gone spawn ready", P.READY),
        ("spawn ready exit retry stop gone retry", P.STOPPED),
        ("spawn fail retry exit gone", P.RESTARTING),
        ("spawn ready exit retry fail", P.CRASHED),
    ],
)
def test_stories(events: str, after: ProcessState) -> None:
    state = P.PENDING
    for event in events.split():
        state = transition(state, ProcessEvent(event))
    assert state is after


def test_every_living_state_can_be_stopped() -> None:
    for state in ProcessState:
        after = transition(state, ProcessEvent.STOP)
        assert after in ENDED or transition(after, ProcessEvent.GONE) in ENDED


@pytest.mark.parametrize(
    ("states", "flags", "expected"),
    [
        ([P.PENDING, P.PENDING], "", RunState.STARTING),
        ([P.READY, P.STARTING], "", RunState.STARTING),
        ([P.READY, P.READY], "", RunState.READY),
        ([P.READY, P.CRASHED], "", RunState.DEGRADED),
        ([P.READY, P.STOPPED], "ready", RunState.DEGRADED),
        ([P.READY, P.STARTING], "ready", RunState.DEGRADED),
        ([P.READY, P.RESTARTING], "ready", RunState.DEGRADED),
        ([P.RESTARTING, P.STARTING], "", RunState.STARTING),
        ([P.RESTARTING, P.RESTARTING], "ready", RunState.DEGRADED),
        ([P.RESTARTING, P.CRASHED], "ready", RunState.DEGRADED),
        ([P.CRASHED, P.CRASHED], "", RunState.FAILED),
        ([P.CRASHED, P.STOPPED], "ready", RunState.FAILED),
        ([P.PENDING, P.PENDING], "failed", RunState.FAILED),
        ([P.READY, P.STOPPING], "stop ready", RunState.STOPPING),
        ([P.STOPPED, P.STOPPED], "stop ready", RunState.STOPPED),
        ([P.CRASHED, P.STOPPED], "stop ready", RunState.STOPPED),
        ([P.CRASHED, P.STOPPED], "stop", RunState.FAILED),
        ([P.STOPPED, P.STOPPED], "stop failed", RunState.FAILED),
    ],
)
def test_the_state_of_a_run(states: list[ProcessState], flags: str, expected: RunState) -> None:
    words = flags.split()
    found = run_state(states, stop_asked="stop" in words, was_ready="ready" in words, failed="failed" in words)
    assert found is expected


@given(st.lists(st.sampled_from(ProcessState), min_size=1), st.booleans(), st.booleans())
def test_a_run_that_was_told_to_stop_is_over_exactly_when_nothing_is_alive(
    states: list[ProcessState], was_ready: bool, failed: bool
) -> None:
    found = run_state(states, stop_asked=True, was_ready=was_ready, failed=failed)
    over = all(state in {P.PENDING, P.STOPPED, P.CRASHED} for state in states)
    assert (found in FINAL) is over
    assert over or found is RunState.STOPPING
