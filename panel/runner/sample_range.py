"""The samples of a stretch of time at a resolution that fits a picture.

Reads an open `SampleFile`; decides which resolution to read and joins it further where even minutes are too many.
Pure but for that file. `runner.samples` serves it to clients.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from .buckets import Bucket, RangeRow, joined, with_gaps
from .packing import Places
from .sample_file import STEPS_S, SampleFile
from .series import SeriesInfo

__all__ = ["RAW_STEP_S", "SampleRange", "read_stretch"]

RAW_STEP_S = 0.5
_FAR_S = 1e11


@dataclass(frozen=True, slots=True)
class SampleRange:
    """The rows of a stretch of time, oldest first.

    Attributes:
        step_s: seconds that a row stands for; 0.5 are the rows as they were sampled.
        series: by key, those that were asked for.
        rows: one without values marks a time in which nothing was sampled.
    """

    step_s: float
    series: dict[str, SeriesInfo]
    rows: list[RangeRow]


def read_stretch(
    file: SampleFile,
    places: Places,
    stretch: tuple[float, float],
    most_rows: int,
    keys: Collection[str] = (),
    unfinished: Mapping[int, Bucket | None] | None = None,
) -> SampleRange:
    """Returns the samples of a stretch at the finest resolution that holds all of it in `most_rows`.

    Args:
        file: where they are.
        places: the series of the file.
        stretch: from and to, unix seconds.
        most_rows: rows that a caller can use; at least 1. Gaps come on top.
        keys: the series wanted; none means all.
        unfinished: the bucket of each resolution that is not in the file yet; None for a client of the file.
    """
    wanted = set(keys)
    series = {key: info for key, info in places.series.items() if not wanted or key in wanted}
    stretch = (max(stretch[0], -_FAR_S), min(stretch[1], _FAR_S))
    step_s = _choose(file, stretch, most_rows)
    if not step_s:
        found = (RangeRow(t, places.unpack(data)) for _, t, data in file.rows_between(*stretch))
        return SampleRange(RAW_STEP_S, series, _picked(found, RAW_STEP_S, wanted))
    shown_s = float(step_s)
    count, seconds = file.span(step_s, *stretch)
    if count > most_rows:
        # Whole steps, so that a bucket belongs to one of them.
        shown_s *= max(2, math.ceil(seconds / step_s / most_rows))
    if count > most_rows and unfinished is None:
        from .bucket_join import joined_arrays  # only here: a runner does without numpy

        listed = [(place, key) for place, key in enumerate(places.series) if key in series]
        buckets = joined_arrays(file.buckets_between(step_s, *stretch), listed, shown_s)
    else:
        buckets = _buckets(file, places, step_s, stretch, (unfinished or {}).get(step_s))
        if count > most_rows:
            buckets = joined(buckets, shown_s)
    rows = (RangeRow(bucket.t, bucket.means, bucket.peaks) for bucket in buckets)
    return SampleRange(shown_s, series, _picked(rows, shown_s, wanted))


def _choose(file: SampleFile, stretch: tuple[float, float], most_rows: int) -> int:
    """Returns the resolution to read, 0 for the rows as sampled."""
    firsts = {step_s: first for step_s in (0, *STEPS_S) if (first := file.oldest(step_s)) is not None}
    begin = max(stretch[0], min(firsts.values(), default=0.0))
    for step_s, first in firsts.items():
        # The first bucket's middle lies up to a step after its first row.
        if first <= begin + max(STEPS_S) and file.span(step_s, *stretch)[0] <= most_rows:
            return step_s
    return max((step_s for step_s in firsts if file.span(step_s, *stretch)[0]), default=0)


def _buckets(
    file: SampleFile, places: Places, step_s: int, stretch: tuple[float, float], last: Bucket | None
) -> Iterator[Bucket]:
    for seq, t, count, data in file.buckets_between(step_s, *stretch):
        yield Bucket(seq, t, count, *places.unpack_bucket(data))
    if last is not None and stretch[0] <= last.t <= stretch[1]:
        yield last


def _picked(rows: Iterable[RangeRow], step_s: float, wanted: Collection[str]) -> list[RangeRow]:
    picked = (
        RangeRow(row.t, _only(row.values, wanted), _only(row.peaks, wanted)) if wanted else row
        for row in with_gaps(rows, step_s)
    )
    return list(picked)


def _only(values: Mapping[str, float], wanted: Collection[str]) -> dict[str, float]:
    return {key: value for key, value in values.items() if key in wanted}
