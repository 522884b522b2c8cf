"""Slows processes down as a whole, whatever they do: stopped and continued again and again, by signals.

Works for any number of cores and needs no rights. One thread for each process; `close` lets all of them go on. Cycles
differ in length, so that whoever looks at regular times sees every phase of them.
"""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from ..runner.procfs import Stat, send_signal

__all__ = ["USUAL", "Pace", "Throttle"]

_IDLE_S = 0.05
# Of a cycle's length, both parts of it: samples are taken twice a second, which is a multiple of many cycles.
_SHORTEST, _LONGEST = 0.6, 1.4


@dataclass(frozen=True, slots=True)
class Pace:
    """How a process is let run: `run_s` seconds, then stopped for `pause_s`, and so on; in the mean."""

    run_s: float
    pause_s: float

    @property
    def twice(self) -> Pace:
        """The pace of a process that is twice as fast: the same work in half of the time."""
        return Pace(self.run_s, max(0.0, (self.run_s + self.pause_s) / 2 - self.run_s))


USUAL = Pace(0.01, 0.09)
"""A tenth of the speed, so that twice as much is there even on a machine that others use as well.

The scheduler lets run first who has just been stopped: what a process gets done in `run_s` hardly depends on others.
"""


class Throttle:
    """Keeps processes at their paces; a context manager.

    Args:
        processes: by name.
    """

    def __init__(self, processes: Mapping[str, Stat]) -> None:
        self._paces: dict[str, Pace] = {}
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, args=(name, stat), name=f"throttle {name}", daemon=True)
            for name, stat in processes.items()
        ]

    def __enter__(self) -> Throttle:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def set(self, paces: Mapping[str, Pace]) -> None:
        """Sets the paces from now on; a process without one runs freely."""
        self._paces = dict(paces)

    def _keep(self, name: str, stat: Stat) -> None:
        rng = random.Random(name)
        try:
            while not self._end.is_set():
                pace = self._paces.get(name)
                if pace is None or pace.pause_s <= 0:
                    self._end.wait(_IDLE_S)
                    continue
                if not send_signal(stat, signal.SIGSTOP):
                    return
                length = rng.uniform(_SHORTEST, _LONGEST)
                self._end.wait(length * pace.pause_s)
                send_signal(stat, signal.SIGCONT)
                self._end.wait(length * pace.run_s)
        finally:
            send_signal(stat, signal.SIGCONT)
