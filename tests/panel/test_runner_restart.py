from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.launch import Restart
from pdpanel.panel.runner.restart import RestartPolicy, Restarts

POLICY = RestartPolicy(first_s=1.0, longest_s=30.0, healthy_s=10.0, frozen_s=10.0)


def test_pauses_double_up_to_the_longest() -> None:
    assert [POLICY.pause_s(n) for n in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


@given(st.integers(1, 10**9))
def test_a_pause_is_never_longer_than_the_longest(failures: int) -> None:
    assert POLICY.first_s <= POLICY.pause_s(failures) <= POLICY.longest_s


def test_what_was_never_ready_is_not_started_again() -> None:
    restarts = Restarts(Restart.ON_FAILURE, POLICY)
    assert restarts.ended(5.0) is None
    restarts.ready(6.0)
    assert restarts.ended(7.0) == 1.0
    assert restarts.ended(9.0) == 2.0  # not even ready this time


def test_who_was_ready_for_long_begins_anew() -> None:
    restarts = Restarts(Restart.ON_FAILURE, POLICY)
    now, pauses = 0.0, []
    for lived_s in (1.0, 9.0, 3.0, 10.0, 1.0):
        restarts.ready(now)
        now += lived_s
        pauses.append(restarts.ended(now))
    assert pauses == [1, 2, 4, 1, 2]


def test_never_means_neither_restart_nor_kill() -> None:
    restarts = Restarts(Restart.NEVER, POLICY)
    restarts.ready(0.0)
    assert restarts.ended(100.0) is None
    assert restarts.seen(frozen=True, now=0.0) is None
    assert restarts.seen(frozen=True, now=1000.0) is None


def test_a_frozen_process_is_given_its_time_and_anew_when_it_went_on() -> None:
    restarts = Restarts(Restart.ON_FAILURE, POLICY)
    looks = [(0.0, True), (4.0, True), (5.0, False), (6.0, True), (15.5, True), (16.0, True), (99.0, True)]
    assert [restarts.seen(frozen=frozen, now=now) for now, frozen in looks] == [10, 6, None, 10, 0.5, 0, 0]


def test_an_end_forgets_that_it_was_frozen() -> None:
    restarts = Restarts(Restart.ON_FAILURE, POLICY)
    restarts.ready(0.0)
    assert restarts.seen(frozen=True, now=0.0) == 10.0
    restarts.ended(1.0)
    assert restarts.seen(frozen=True, now=50.0) == 10.0
