"""Follows what is sampled beside the processes: each source in a thread of its own, since reading may hang.

A source that hangs, fails or ends becomes a gap and holds up no other. Knows nothing of what is read; the sampler takes
the values that are fresh.
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
        self.at = float("-inf")
        self.values: Mapping[str, float] = {}


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
            if now - one.at <= 2 * one.source.period_s + 0.2:
                values |= one.values
        return values

    def _follow(self, one: _Followed) -> None:
        source = one.source
        while not self._stop.is_set():
            began = time.monotonic()
            pause_s = source.period_s
            try:
                one.values, one.at = source.read(), time.monotonic()
            except EOFError:
                break
            except Exception:
                # One source must not end the sampling of the others.
                _LOG.warning("%s cannot be sampled", source.name, exc_info=True)
                pause_s = _RETRY_S
            self._stop.wait(max(0.0, began + pause_s - time.monotonic()))
        source.close()
