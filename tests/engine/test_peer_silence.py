"""A silent peer is lost after two seconds; a process that slept itself blames nobody."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.peer.silence import LOST_S, PING_S, Silence


def beaten(silence: Silence, until: float, start: float = 0.0) -> None:
    for beat in range(1, int((until - start) / PING_S) + 1):
        silence.beat(start + beat * PING_S)


def test_a_peer_is_lost_two_seconds_after_its_last_word() -> None:
    silence = Silence(0.0)
    beaten(silence, 1.0)
    silence.heard(1.0)
    beaten(silence, 3.0, 1.0)
    assert silence.left(2.9) > 0 >= silence.left(3.0)


def test_time_that_this_process_slept_is_no_silence_of_the_peer() -> None:
    """Whichever comes first after the sleep, the beat or the look at the time left."""
    for beat_first in (True, False):
        silence = Silence(0.0)
        beaten(silence, 1.0)
        if beat_first:
            silence.beat(100.0)
        assert silence.left(100.0) > 0
        silence.beat(100.1)
        assert 100.0 + LOST_S - 0.2 < 100.1 + silence.left(100.1) <= 100.1 + LOST_S
        beaten(silence, 103.0, 100.0)
        assert silence.left(103.0) <= 0, "and then it is watched as before"


@given(st.lists(st.floats(0.01, 1.9), min_size=1, max_size=30))
def test_a_peer_that_speaks_often_enough_is_never_lost(pauses: list[float]) -> None:
    now, beaten_at, silence = 0.0, 0.0, Silence(0.0)
    for pause in pauses:
        heard_at = now + pause
        while beaten_at + PING_S <= heard_at:
            beaten_at += PING_S
            silence.beat(beaten_at)
            assert silence.left(beaten_at) > 0
        now = heard_at
        silence.heard(now)
