from __future__ import annotations

import threading

import pytest
from pdpanel.nic_probe.patience import answers_within


def test_answers_come_in_the_order_of_the_tasks() -> None:
    assert answers_within(30, [lambda number=number: number * 2 for number in range(50)]) == list(range(0, 100, 2))


def test_no_task_is_no_answer() -> None:
    assert answers_within(0, []) == []


def test_a_task_that_hangs_holds_up_no_other() -> None:
    for_ever = threading.Event()
    try:
        found = answers_within(
            30, [lambda: for_ever.wait() and 1, lambda: 2, lambda: for_ever.set() or 3], stall_s=0.01
        )
    finally:
        for_ever.set()
    # The second thread's last task sets the first one free, so all of them answer.
    assert found == [1, 2, 3]


def test_what_is_not_done_in_time_is_none() -> None:
    for_ever = threading.Event()
    try:
        assert answers_within(0.05, [lambda: for_ever.wait() and 1, lambda: 2], stall_s=0.001) == [None, 2]
    finally:
        for_ever.set()


def test_side_by_side_every_task_has_its_thread() -> None:
    all_of_them = threading.Barrier(4, timeout=30)
    found = answers_within(30, [lambda: all_of_them.wait() >= 0] * 4, stall_s=30, side_by_side=True)
    assert found == [True] * 4


def test_an_exception_of_a_task_is_raised_where_the_answers_are_waited_for() -> None:
    def fail() -> int:
        raise RuntimeError("a mistake of the reader")

    with pytest.raises(RuntimeError, match="a mistake of the reader"):
        answers_within(30, [lambda: 1, fail])
