"""Many rows as one: the mean of each series over ten seconds or a minute, and its peak.

Pure. A bucket ends when a row belongs to another stretch of the clock, before or after: a clock that is set back
begins a new bucket and loses nothing. A series that was not there in any of the rows is not there in the bucket: a gap
stays a gap. `runner.samples` fills buckets, `runner.sample_range` joins them further for a picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["Bucket", "BucketMaker", "RangeRow", "joined", "with_gaps"]

_GAP_STEPS = 2.5


@dataclass(frozen=True, slots=True)
class Bucket:
    """A stretch of rows.

    Attributes:
        seq: number of its last row.
        t: the middle of its rows, unix seconds.
        rows: how many it has.
        means: by series; over the rows that have the series.
        peaks: the largest value of each.
    """

    seq: int
    t: float
    rows: int
    means: Mapping[str, float]
    peaks: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RangeRow:
    """A row of a picture.

    Attributes:
        t: unix seconds.
        values: means over `SampleRange.step_s`, or the values themselves; empty where nothing was sampled.
        peaks: the largest values in that time; empty where `values` are not means.
    """

    t: float
    values: Mapping[str, float]
    peaks: Mapping[str, float] = field(default_factory=dict)


class BucketMaker:
    """Collects the rows of `step_s` seconds at a time."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._slot: int | None = None
        self._clear()

    def add(self, seq: int, t: float, values: Mapping[str, float]) -> Bucket | None:
        """Takes a row in, and returns the bucket that ended before it."""
        slot = math.floor(t / self._step_s)
        ended = self.taken() if slot != self._slot else None
        self._slot = slot
        self._rows += 1
        self._seq = seq
        self._times += t
        for key, value in values.items():
            if not math.isfinite(value):
                continue
            self._sums[key] = self._sums.get(key, 0.0) + value
            self._counts[key] = self._counts.get(key, 0) + 1
            if value > self._peaks.get(key, -math.inf):
                self._peaks[key] = value
        return ended

    def so_far(self) -> Bucket | None:
        """Returns the bucket that has not ended; None when it has no rows."""
        if not self._rows:
            return None
        means = {key: total / self._counts[key] for key, total in self._sums.items()}
        return Bucket(self._seq, self._times / self._rows, self._rows, means, dict(self._peaks))

    def taken(self) -> Bucket | None:
        """Returns the same and begins anew."""
        bucket = self.so_far()
        self._clear()
        return bucket

    def _clear(self) -> None:
        self._rows = self._seq = 0
        self._times = 0.0
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._peaks: dict[str, float] = {}


def joined(buckets: Iterable[Bucket], step_s: float) -> Iterator[Bucket]:
    """Joins buckets that follow each other in time to ones of `step_s`; each counts by the rows that it has."""
    pending: list[Bucket] = []
    for bucket in buckets:
        if pending and math.floor(bucket.t / step_s) != math.floor(pending[0].t / step_s):
            yield _join(pending)
            pending = []
        pending.append(bucket)
    if pending:
        yield _join(pending)


def _join(buckets: list[Bucket]) -> Bucket:
    if len(buckets) == 1:
        return buckets[0]
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    peaks: dict[str, float] = {}
    for bucket in buckets:
        for key, mean in bucket.means.items():
            sums[key] = sums.get(key, 0.0) + mean * bucket.rows
            counts[key] = counts.get(key, 0) + bucket.rows
            peaks[key] = max(peaks.get(key, -math.inf), bucket.peaks.get(key, mean))
    rows = sum(bucket.rows for bucket in buckets)
    t = sum(bucket.t * bucket.rows for bucket in buckets) / rows
    means = {key: total / counts[key] for key, total in sums.items()}
    return Bucket(max(bucket.seq for bucket in buckets), t, rows, means, peaks)


def with_gaps(rows: Iterable[RangeRow], step_s: float) -> Iterator[RangeRow]:
    """Puts a row without values where nothing was sampled for longer than rows are apart: a line is broken there."""
    before: float | None = None
    for row in rows:
        if before is not None and row.t - before > _GAP_STEPS * step_s:
            yield RangeRow((before + row.t) / 2, {})
        before = row.t
        yield row
