"""Use of the host's CPU and memory, from /proc, as a source of samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["HostSource", "memory_total"]


class HostSource:
    """The host as a whole.

    Args:
        proc: the folder that stands for /proc.
    """

    name = "host"
    period_s = 0.5

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._before: tuple[int, int] | None = None

    def read(self) -> Mapping[str, float]:
        """Returns the share of all cores in use since the read before, and the memory that nobody could have now."""
        values: dict[str, float] = {}
        now = self._ticks()
        if now is not None and self._before is not None and now[1] > self._before[1]:
            busy, all_of_it = now[0] - self._before[0], now[1] - self._before[1]
            values["host/cpu_percent"] = min(100.0, max(0.0, 100.0 * busy / all_of_it))
        self._before = now
        memory = _memory(self._proc)
        if "MemTotal" in memory and "MemAvailable" in memory:
            values["host/memory_bytes"] = float(memory["MemTotal"] - memory["MemAvailable"])
        return values

    def close(self) -> None:
        """Holds nothing."""

    def _ticks(self) -> tuple[int, int] | None:
        """Returns the ticks that were busy, and all of them."""
        try:
            with open(self._proc / "stat", "rb") as file:
                words = file.readline().split()
            # user nice system idle iowait irq softirq steal; guest time is part of user's.
            ticks = [int(word) for word in words[1:9]]
        except (OSError, ValueError):
            return None
        return (sum(ticks) - ticks[3] - ticks[4], sum(ticks)) if len(ticks) >= 5 else None


def memory_total(proc: Path = Path("/proc")) -> float | None:
    """Returns the host's memory in bytes, None where the kernel does not say."""
    total = _memory(proc).get("MemTotal")
    return None if total is None else float(total)


def _memory(proc: Path) -> dict[str, int]:
    try:
        with open(proc / "meminfo", "rb") as file:
            lines = file.read(4096).splitlines()
    except OSError:
        return {}
    found: dict[str, int] = {}
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[2] == b"kB" and words[1].isdigit():
            found[words[0].rstrip(b":").decode("ascii", "replace")] = int(words[1]) * 1024
    return found
