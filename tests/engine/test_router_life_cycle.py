"""Every pair of state and event is handled, every request has one end, and a failure means the same everywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import LocalProtocolError
from pdpanel.engine.router.life_cycle import REQUEST, Event, Life, State, verdict

ENDS = {State.DONE, State.REFUSED, State.BROKEN, State.ABANDONED}


@pytest.mark.parametrize(("state", "event"), [*itertools.product(State, Event)])
def test_every_pair_moves_is_stale_or_is_a_bug(state: State, event: Event) -> None:
    parts = [(state, event) in part for part in (REQUEST.moves, REQUEST.stale, REQUEST.impossible)]
    assert parts.count(True) == 1
    life = Life()
    life.state = state
    if (state, event) in REQUEST.impossible:
        with pytest.raises(LocalProtocolError):
            life.on(event)
        assert life.state is state
    else:
        assert life.on(event) is ((state, event) in REQUEST.moves)


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_an_end_is_an_end(events: list[Event]) -> None:
    life, ends = Life(), 0
    for event in events:
        was_open = life.state not in ENDS
        try:
            life.on(event)
        except LocalProtocolError:
            continue
        ends += was_open and life.state in ENDS
    assert ends == (life.state in ENDS)


@pytest.mark.parametrize("state", [state for state in State if state not in ENDS])
def test_a_request_can_be_given_up_at_any_time(state: State) -> None:
    for event in (Event.FAIL, Event.LEAVE):
        life = Life()
        life.state = state
        life.on(event)
        assert life.state in ENDS


@pytest.mark.parametrize(
    ("started", "may_retry", "may_replay", "is_told", "is_complete", "expected"),
    [
        (False, True, False, False, False, Event.AGAIN),
        (False, False, True, False, False, Event.FAIL),
        (True, True, True, False, False, Event.AGAIN),
        (True, True, False, False, False, Event.FAIL),
        (True, False, True, False, False, Event.FAIL),
        (True, True, True, True, True, Event.WHOLE),
        (True, True, True, True, False, Event.AGAIN),
        (True, False, True, True, False, Event.WHOLE),
        (True, True, False, True, False, Event.WHOLE),
    ],
)
def test_what_a_failed_try_means(
    started: bool, may_retry: bool, may_replay: bool, is_told: bool, is_complete: bool, expected: Event
) -> None:
    life = Life()
    life.on(Event.PLACE)
    if started:
        life.on(Event.BEGIN)
    found = verdict(life, may_retry=may_retry, may_replay=may_replay, is_told=is_told, is_complete=is_complete)
    assert found is expected
    assert life.on(found)
