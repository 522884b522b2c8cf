"""The throughput and latency that Mooncake's Transfer Engine logs, as a source of samples.

Follows the logs of the run's workers; a value is good for as long as the line was about, since an idle engine says
nothing. Parsing is the business of `telemetry.mooncake_log`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..telemetry.mooncake_log import MARK, EngineStats, last_stats
from .log_follower import LogFollower

__all__ = ["MooncakeLogs"]


class MooncakeLogs:
    """The logs of several processes.

    Args:
        logs: the file of each process.
        clock: seconds that only go forward.
    """

    name = "Mooncake's logs"
    period_s = 0.5

    def __init__(self, logs: Mapping[str, Path], clock: Callable[[], float] = time.monotonic) -> None:
        self._logs = {name: LogFollower(path) for name, path in logs.items()}
        self._clock = clock
        self._said: dict[str, tuple[float, EngineStats]] = {}

    def read(self) -> Mapping[str, float]:
        """Returns what the newest lines say."""
        now = self._clock()
        values: dict[str, float] = {}
        for name, follower in self._logs.items():
            stats = last_stats(line for line in follower.new_lines() if MARK in line)
            if stats is not None:
                self._said[name] = (now + stats.span_s, stats)
            until, known = self._said.get(name, (now, None))
            if known is None or now >= until:
                continue
            if known.bytes_per_s is not None:
                values[f"proc/{name}/mooncake_bytes_per_s"] = known.bytes_per_s
            if known.latency is not None:
                for word, share in (("p50", 0.5), ("p99", 0.99)):
                    latency = known.latency.quantile(share)
                    if latency is not None:
                        values[f"proc/{name}/mooncake_latency_{word}_s"] = latency
        return values

    def close(self) -> None:
        """Holds nothing."""
