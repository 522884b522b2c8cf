"""Calls in the order in which they were given, whoever lets them go."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.turnstile import Turnstile


@given(st.lists(st.booleans(), max_size=8), st.data())
def test_nothing_overtakes_what_waits(waits: list[bool], data: st.DataObject) -> None:
    made: list[int] = []
    turnstile, releases = Turnstile(), dict[int, object]()
    for number, has_to_wait in enumerate(waits):
        call = partial(made.append, number)
        if has_to_wait:
            releases[number] = turnstile.hold(call)
        else:
            turnstile.put(call)
    held = set(releases)
    for number in data.draw(st.permutations(sorted(releases))):
        first = min(held, default=len(waits))
        assert made == list(range(first))
        release = releases[number]
        assert callable(release)
        release()
        held.remove(number)
    assert made == list(range(len(waits)))
