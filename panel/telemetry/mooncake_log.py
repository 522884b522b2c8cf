"""The line that Mooncake's Transfer Engine logs every few seconds under MC_TE_METRIC.

`[Metrics] Transfer Engine Stats (over last 5s): Throughput: 1234.56 MB/s | Latency Distribution (count=N):
0-10us:12.3%, ... >10000000us:0.2%`, as Mooncake 0.3 prints it with the micro sign. Either part may be missing, and
buckets below 0.1 % are hidden. Pure; the runner's reader of logs calls it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .histogram import Histogram

__all__ = ["MARK", "EngineStats", "last_stats", "parse_stats"]

MARK = "Transfer Engine Stats"
"""What every such line holds."""

_SPAN = re.compile(r"over last (\d{1,6}(?:\.\d{1,6})?) ?s\)")
_RATE = re.compile(r"Throughput: (\d{1,12}(?:\.\d{1,9})?) ?([KMGT]?)(i?)B/s")
_COUNT = re.compile(r"count=(\d{1,15})")
_BUCKET = re.compile(r"(?:(\d{1,12})-(\d{1,12})|>(\d{1,12}))\D{0,3}s: ?(\d{1,3}(?:\.\d{1,6})?)%")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What one line says.

    Attributes:
        span_s: the seconds that it is about.
        bytes_per_s: None where nothing travelled.
        latency: of the tasks that ended, in seconds; None without any.
    """

    span_s: float
    bytes_per_s: float | None
    latency: Histogram | None


def parse_stats(line: str) -> EngineStats | None:
    """Returns what a log line says, None for any other line."""
    place = line.find(MARK, 0, _LONGEST)
    if place < 0:
        return None
    text = line[place : place + _LONGEST]
    span = _SPAN.search(text)
    if span is None:
        return None
    rate = _RATE.search(text)
    bytes_per_s = None
    if rate is not None:
        bytes_per_s = float(rate[1]) * (1024 if rate[3] else 1000) ** _POWERS[rate[2]]
    return EngineStats(float(span[1]), bytes_per_s, _latency(text))


def last_stats(lines: Iterable[str]) -> EngineStats | None:
    """Returns what the last such line of several says, None if there is none."""
    found = None
    for line in lines:
        found = parse_stats(line) or found
    return found


def _latency(text: str) -> Histogram | None:
    count = _COUNT.search(text)
    if count is None:
        return None
    bounds: list[float] = []
    counts: list[float] = []
    total = 0.0
    below = 0.0
    for _low, high, above, percent in _BUCKET.findall(text):
        bound = math.inf if above else float(high) * 1e-6
        if bounds and bound <= bounds[-1]:
            return None
        low = float(above or _low) * 1e-6
        # A hidden bucket between two that are shown keeps the next one from beginning too low.
        if low > (bounds[-1] if bounds else 0.0):
            bounds.append(low)
            counts.append(below)
        share = float(percent) / 100 * float(count[1])
        below += share
        total += share * (low if math.isinf(bound) else (low + bound) / 2)
        bounds.append(bound)
        counts.append(below)
    if not bounds:
        return None
    if not math.isinf(bounds[-1]):
        bounds.append(math.inf)
        counts.append(below)
    return Histogram(tuple(bounds), tuple(counts), total)
