"""Follows what is sampled beside the processes: each source in a thread of its own, since reading may hang.

A source that hangs, fails or ends becomes a gap and holds up no other. Knows of what is read only that a rate is one;
the sampler takes the values that are fresh.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

__all__ = ["Following", "TelemetrySource"]

_LOG = logging.getLogger(__name__)
_RETRY_S: Final = 30.0
_RATE: Final = "_per_s"
_MOST_UNTAKEN: Final = 16


class TelemetrySource(Protocol):
    """Something that is read again and again, from one thread, which `read` may hold for ever."""

    @property
    def name(self) -> str:
        """Tells it from other sources."""
        ...

    @property
    def period_s(self) -> float:
        """How long to wait from the begin of one read to the next."""
        ...

    def read(self) -> Mapping[str, float]:
        """Returns values by series key; what is not known is left out. Raises EOFError when there will be no more."""
        ...

    def close(self) -> None:
        """Lets go of what it holds; called in the thread that reads."""
        ...


class _Followed:
    def __init__(self, source: TelemetrySource) -> None:
        self.source = source
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._untaken: list[Mapping[str, float]] = [{}]
        self._taken = True

    def put(self, values: Mapping[str, float], at: float) -> None:
        """Keeps what was read until it is taken; `at` is monotonic."""
        with self._lock:
            self._untaken = [values] if self._taken else [*self._untaken, values][-_MOST_UNTAKEN:]
            self._at, self._taken = at, False

    def take(self, now: float) -> Mapping[str, float]:
        """Returns what was read last, if that is fresh; of a rate the mean over all reads since the call before.

        A beat and a read of the same period drift: a burst that fell between two beats would have been seen by nobody.
        """
        with self._lock:
            if now - self._at > 2 * self.source.period_s + 0.2:
                return {}
            reads, last = self._untaken, self._untaken[-1]
            self._untaken, self._taken = [last], True
            if len(reads) == 1:
                return last
            return {key: _mean(key, reads) if key.endswith(_RATE) else value for key, value in last.items()}


def _mean(key: str, reads: Sequence[Mapping[str, float]]) -> float:
    known = [read[key] for read in reads if key in read]
    return sum(known) / len(known)


class Following:
    """Reads sources from `start` to `close`."""

    def __init__(self, sources: Sequence[TelemetrySource]) -> None:
        self._followed = [_Followed(source) for source in sources]
        self._stop = threading.Event()

    def start(self) -> None:
        """Begins; returns at once."""
        for one in self._followed:
            threading.Thread(target=self._follow, args=(one,), name=f"source {one.source.name}", daemon=True).start()

    def close(self) -> None:
        """Ends; a source that hangs keeps its thread, which is a daemon."""
        self._stop.set()

    def values(self, now: float) -> dict[str, float]:
        """Returns what was read within the last two periods; `now` is monotonic."""
        values: dict[str, float] = {}
        for one in self._followed:
            values |= one.take(now)
        return values

    def _follow(self, one: _Followed) -> None:
        source = one.source
        while not self._stop.is_set():
            began = time.monotonic()
            pause_s = source.period_s
            try:
                one.put(source.read(), time.monotonic())
            except EOFError:
                break
            except Exception:
                # One source must not end the sampling of the others.
                _LOG.warning("%s cannot be sampled", source.name, exc_info=True)
                pause_s = _RETRY_S
            self._stop.wait(max(0.0, began + pause_s - time.monotonic()))
        source.close()
