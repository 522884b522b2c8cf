"""Reads drivers that may hang: whoever asks goes on after a limit, with what was answered until then.

A read of sysfs can be a firmware command, and one that a broken device never answers cannot be broken off; the
thread that waits for it is left behind. Knows nothing of what is asked. Called by the readers of a live host.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

__all__ = ["answers_within"]

T = TypeVar("T")

_STALL_S: Final = 0.2


def answers_within(
    limit_s: float, tasks: Sequence[Callable[[], T]], *, stall_s: float = _STALL_S, side_by_side: bool = False
) -> list[T | None]:
    """Returns what each task returned, None for a task that is not done after `limit_s` seconds.

    The tasks run one after the other in one daemon thread, since threads that all read small files are slower
    together than one alone. Whenever none ends for `stall_s` seconds another thread joins, so that a task which
    hangs holds up no other. An exception of a task is raised here.

    Args:
        side_by_side: one thread for each task from the start, for tasks that wait for hardware.
    """
    outcomes: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()
    pending = iter(range(len(tasks)))
    turn = threading.Lock()

    def work() -> None:
        while True:
            with turn:
                number = next(pending, None)
            if number is None:
                return
            try:
                outcomes.put((number, tasks[number](), None))
            except BaseException as error:  # Raised again where the answers are waited for.
                outcomes.put((number, None, error))

    answers: list[T | None] = [None] * len(tasks)
    deadline = time.monotonic() + limit_s
    left = len(tasks)
    idle_threads = len(tasks)

    def join_in() -> None:
        nonlocal idle_threads
        if idle_threads:
            idle_threads -= 1
            threading.Thread(target=work, name="host-reader", daemon=True).start()

    for _ in range(len(tasks) if side_by_side else min(1, len(tasks))):
        join_in()
    while left and (rest := deadline - time.monotonic()) > 0:
        try:
            number, answer, error = outcomes.get(timeout=min(rest, stall_s))
        except queue.Empty:
            join_in()
            continue
        if error is not None:
            raise error
        answers[number] = answer
        left -= 1
    return answers
