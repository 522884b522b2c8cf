"""Calls made in the order in which they were given, although some of them have to wait.

Decode's exchange sends its messages through it where the worker has several ranks: a grant leaves once all of them have
copied what stood in its pages, and what follows, such as the room's abort, must not overtake it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Turnstile"]


@dataclass(slots=True, eq=False)
class _Turn:
    call: Callable[[], None]
    is_ready: bool


class Turnstile:
    """A queue of calls, which must not block. Thread-safe."""

    def __init__(self) -> None:
        self._turns: deque[_Turn] = deque()
        self._lock = threading.Lock()

    def put(self, call: Callable[[], None]) -> None:
        """Calls it when it is its turn: at once when nothing waits."""
        self._add(_Turn(call, is_ready=True))

    def hold(self, call: Callable[[], None]) -> Callable[[], None]:
        """Calls it when it is its turn, and what this returns was called, on whatever thread."""
        turn = _Turn(call, is_ready=False)
        self._add(turn)
        return lambda: self._release(turn)

    def _release(self, turn: _Turn) -> None:
        with self._lock:
            turn.is_ready = True
            self._go()

    def _add(self, turn: _Turn) -> None:
        with self._lock:
            self._turns.append(turn)
            self._go()

    def _go(self) -> None:
        while self._turns and self._turns[0].is_ready:
            self._turns.popleft().call()
