"""The circuit breaker of one worker: whether requests that fail on it keep others away for a while.

    state      a failure                  a success               its time is over    it came back
    closed     open at the threshold      closed                  -                   closed
    open       open                       open                    half-open           closed
    half-open  open                       closed at the threshold -                   closed

It is for a worker that says it is well while requests break on it; one that is dead is `health`'s business. What a
worker refuses (4xx, 503) and what it says of its peer (502) is no failure of its own. Pure: `now` is passed in.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from .config import BreakerConfig

__all__ = ["Breaker", "Circuit"]


class Circuit(Enum):
    """Whether requests pass; the values are those of sglang_router's metric."""

    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2


class Breaker:
    """One worker's circuit."""

    def __init__(self, config: BreakerConfig) -> None:
        self._config = config
        self._state = Circuit.CLOSED
        self._failures: deque[float] = deque(maxlen=config.failure_threshold)
        self._successes = 0
        self._opened_at = 0.0

    def state(self, now: float) -> Circuit:
        """Returns the circuit's state; one that has been open for its time is half-open from here on."""
        if self._state is Circuit.OPEN and now - self._opened_at >= self._config.timeout:
            self._state, self._successes = Circuit.HALF_OPEN, 0
        return self._state

    def passes(self, now: float) -> bool:
        """True when a request may be sent."""
        return self.state(now) is not Circuit.OPEN

    def closes_in(self, now: float) -> float:
        """Returns the seconds until requests pass again."""
        return 0.0 if self.passes(now) else self._config.timeout - (now - self._opened_at)

    def failed(self, now: float) -> None:
        """Notes a request that broke."""
        if not self._config.enabled:
            return
        state = self.state(now)
        if state is Circuit.OPEN:
            return
        self._failures.append(now)
        full = len(self._failures) == self._config.failure_threshold
        if state is Circuit.HALF_OPEN or (full and now - self._failures[0] <= self._config.window):
            self._state, self._opened_at = Circuit.OPEN, now
            self._failures.clear()

    def succeeded(self, now: float) -> None:
        """Notes a request that went well."""
        if self.state(now) is Circuit.HALF_OPEN:
            self._successes += 1
            if self._successes >= self._config.success_threshold:
                self.reset()

    def reset(self) -> None:
        """Closes the circuit: the worker came back, perhaps as another process."""
        self._state, self._successes = Circuit.CLOSED, 0
        self._failures.clear()
