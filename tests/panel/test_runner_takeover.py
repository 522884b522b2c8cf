"""What becomes of each process that a new runner finds; no process and no clock."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.launch import Role
from pdpanel.panel.runner.lifecycle import ENDED, TRANSITIONS, ProcessEvent, ProcessState, transition
from pdpanel.panel.runner.state import ProcessRecord
from pdpanel.panel.runner.takeover import Then, take_over

P, E = ProcessState, ProcessEvent
LIVING = frozenset({P.STARTING, P.READY})


def record(state: ProcessState, *, again: bool = False) -> ProcessRecord:
    return ProcessRecord("decode-0", Role.DECODE, {}, "decode-0.log", 1.0, state=state, again=again)


@pytest.mark.parametrize(
    ("state", "alive", "again", "then"),
    [
        (P.PENDING, False, False, Then.DUE),
        (P.STARTING, True, False, Then.WATCH),
        (P.STARTING, False, False, Then.LOST),
        (P.READY, True, False, Then.WATCH),
        (P.READY, False, False, Then.LOST),
        (P.STOPPING, True, False, Then.END),
        (P.STOPPING, False, False, Then.END),
        (P.STOPPING, True, True, Then.END),
        (P.STOPPED, False, False, Then.LEAVE),
        (P.STOPPED, False, True, Then.DUE),
        (P.CRASHED, False, False, Then.LEAVE),
        (P.CRASHED, True, False, Then.LEAVE),
        (P.RESTARTING, False, False, Then.RETRY),
    ],
)
def test_the_table(state: ProcessState, alive: bool, again: bool, then: Then) -> None:
    assert take_over(record(state, again=again), alive=alive) is then


def after_takeover(state: ProcessState, *, alive: bool, again: bool) -> tuple[ProcessState, bool]:
    """Returns the state once the runner has done what the table says, as the supervisor does it, and if it spawned."""
    then = take_over(record(state, again=again), alive=alive)
    if then is Then.WATCH:
        return state, False
    if then is Then.LOST:
        state = transition(state, E.EXIT)
    if state is not P.PENDING:
        state = transition(state, E.GONE)
    if then is Then.RETRY:
        return transition(transition(state, E.RETRY), E.SPAWN), True
    if again and state is P.STOPPED:
        state = transition(state, E.RESET)
    return (transition(state, E.SPAWN), True) if state is P.PENDING else (state, False)


@pytest.mark.parametrize(
    ("state", "alive", "again"), list(itertools.product(ProcessState, (True, False), (True, False)))
)
def test_every_finding_comes_to_a_state_that_is_true(state: ProcessState, alive: bool, again: bool) -> None:
    after, spawned = after_takeover(state, alive=alive, again=again)
    if alive and state in LIVING:
        assert (after, spawned) == (state, False), "what lives is not started again"
    assert after is not P.STOPPING, "nobody is left halfway"
    assert after in LIVING or after in ENDED


@given(st.lists(st.tuples(st.sampled_from(ProcessEvent), st.booleans()), max_size=30))
def test_a_runner_may_die_at_any_moment(story: list[tuple[ProcessEvent, bool]]) -> None:
    """Whatever happened, and however often the runner is replaced in between, there is one living process at most."""
    state, living = P.PENDING, 0
    for event, replaced in story:
        after = TRANSITIONS[state, event]
        # A runner spawns only what has no process, and asks for a reset and a retry of what has ended alone.
        if after is None or (event is E.SPAWN and living) or (event in {E.RESET, E.RETRY} and living):
            continue
        if event is E.READY and not living:
            continue
        if event is E.SPAWN:
            living += 1
        elif event in {E.EXIT, E.GONE} or (event is E.FAIL and after in ENDED):
            living = 0
        state = after
        if replaced:
            alive = bool(living) and state not in ENDED
            state, spawned = after_takeover(state, alive=alive, again=False)
            # What is not watched is ended before anything is started.
            living = int(spawned or state in LIVING)
        assert living <= 1
        assert not (state in LIVING and not living and replaced)
