"""Moves the byte counters of a simulated host: what its engines say they have moved, and a little noise.

Counters are files that several runners and the panel change, each under one lock, so that none of it is lost or counted
twice. No port carries more than its line rate: what is above that waits, as in a real NIC. Decides nothing about runs.
"""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..file_lock import locked
from .simulation import Port, Simulation

__all__ = ["Ticker"]

_NOISE: Final = "noise_at"
_MOST_BYTES: Final = 64
_LONGEST_S: Final = 2.0
# A port is never quite full.
_FULL: Final = 0.94
_LARGEST: Final = (1 << 64) - 1


class Ticker:
    """Adds to the counters of a host.

    Args:
        simulation: the host.
        now: seconds since 1970, the same clock for all who add.
        choose: returns a number from 0 to 1, by which noise is uneven.
    """

    def __init__(
        self,
        simulation: Simulation,
        now: Callable[[], float] = time.time,
        choose: Callable[[], float] = random.random,
    ) -> None:
        self._simulation = simulation
        self._now = now
        self._choose = choose
        self._ports = {port.key: port for port in simulation.ports}
        self._waiting: dict[tuple[str, str], float] = defaultdict(float)
        self._before = now()

    def send(self, sender: tuple[str, ...], receiver: tuple[str, ...], engine_bytes: float) -> None:
        """Takes KV bytes that an engine moved; they are counted by the next ticks.

        Args:
            sender: NICs of the worker that sent, as names or ports; none for the loopback.
            receiver: those of the worker that received.
            engine_bytes: not scaled yet.
        """
        scaled = engine_bytes * self._simulation.kv_scale
        for way, names in (("tx", sender), ("rx", receiver)):
            keys = self._keys(names)
            for key in keys:
                self._waiting[key, way] += scaled / len(keys)

    def tick(self) -> None:
        """Writes what has travelled since the last call."""
        now = self._now()
        seconds = min(max(now - self._before, 0.0), _LONGEST_S)
        self._before = now
        moved: dict[tuple[str, str], float] = {}
        for place, waiting in list(self._waiting.items()):
            line = self._ports[place[0]].line_bytes_per_s
            going = waiting if line is None else min(waiting, line * _FULL * seconds)
            if going > 0:
                moved[place] = going
            self._waiting[place] = waiting - going
        with locked(self._simulation.lock):
            noise = self._noise(now)
            for key, port in self._ports.items():
                for way, path in (("tx", port.tx), ("rx", port.rx)):
                    idle = noise * (0.5 + self._choose()) if ":" in key else 0.0
                    if more := moved.get((key, way), 0.0) + idle:
                        self._add(port, path, more)

    def _keys(self, names: tuple[str, ...]) -> list[str]:
        keys = [name if ":" in name else f"{name}:1" for name in names]
        return [key for key in keys if key in self._ports] or [key for key in self._ports if ":" not in key]

    def _noise(self, now: float) -> float:
        """Returns what each port carries besides; whoever comes first adds it for all the time since the last."""
        note = self._simulation.lock.with_name(_NOISE)
        try:
            before = float(note.read_text())
        except (OSError, ValueError):
            before = now
        if not 0 <= now - before <= _LONGEST_S:
            before = now
        note.write_text(repr(now))
        return (now - before) * self._simulation.idle_bytes_per_s

    def _add(self, port: Port, path: str, more: float) -> None:
        place = self._simulation.root / path
        old = _count(place)
        if old is not None:
            _write(place, min(old + max(1, round(more / port.factor)), _LARGEST))


def _count(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and len(text) <= 20 else None


def _write(path: Path, value: int) -> None:
    # In place and in one write, since readers keep the file open; a count never gets shorter.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, f"{value}\n".encode(), 0)
    finally:
        os.close(descriptor)
