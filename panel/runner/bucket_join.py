"""Joins many buckets to a few with arrays: thirty days of hundreds of series are tens of millions of numbers.

Pure: what `sample_file` holds in, buckets of a longer step out, the same as `buckets.joined` makes of them. Only for
clients, which read a run's file themselves: a runner, which has no numpy, is never asked for so much.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .buckets import Bucket
from .sample_file import BucketRow

__all__ = ["joined_arrays"]


def joined_arrays(rows: Iterable[BucketRow], keys: Sequence[tuple[int, str]], step_s: float) -> Iterator[Bucket]:
    """Yields the buckets of `step_s` that the rows make; each counts by the rows that it has.

    Args:
        rows: packed buckets by time.
        keys: place in a packed row and key of each series wanted.
        step_s: seconds.
    """
    places = np.array([place for place, _ in keys], dtype=np.intp)
    names = [key for _, key in keys]
    pending: list[BucketRow] = []
    for row in rows:
        if pending and math.floor(row[1] / step_s) != math.floor(pending[0][1] / step_s):
            yield _join(pending, places, names)
            pending = []
        pending.append(row)
    if pending:
        yield _join(pending, places, names)


def _join(rows: list[BucketRow], places: NDArray[np.intp], names: list[str]) -> Bucket:
    values = _unpacked([row[3] for row in rows], places)
    means, highs = values[:, 0], values[:, 1]
    weights = np.array([row[2] for row in rows], dtype=np.float64)
    known = ~np.isnan(means)
    counts = weights @ known
    peaks = np.fmax.reduce(np.where(np.isnan(highs), means, highs), axis=0).tolist()
    with np.errstate(invalid="ignore", divide="ignore"):
        joined = (weights @ np.where(known, means, 0).astype(np.float64) / counts).tolist()
    found = np.flatnonzero(counts).tolist()
    weight = sum(row[2] for row in rows)
    return Bucket(
        max(row[0] for row in rows),
        sum(row[1] * row[2] for row in rows) / weight,
        weight,
        {names[place]: joined[place] for place in found},
        {names[place]: peaks[place] for place in found},
    )


def _unpacked(packed: list[bytes], places: NDArray[np.intp]) -> NDArray[np.float32]:
    """Returns (bucket, mean or peak, series): NaN where a bucket is damaged, or older than a series."""
    plain: list[bytes] = []
    for data in packed:
        try:
            found = zlib.decompress(data)
        except zlib.error:
            found = b""
        plain.append(found if len(found) == 4 + 8 * int.from_bytes(found[:4], "little") else bytes(4))
    most = max(max(len(found) // 8 for found in plain), int(places.max(initial=-1)) + 1)
    whole: NDArray[np.float32] = np.full((len(packed), 2, most), np.nan, dtype=np.float32)
    for place, found in enumerate(plain):
        count = len(found) // 8
        whole[place, :, :count] = np.frombuffer(found, dtype="<f4", offset=4).reshape(2, count)
    return whole[:, :, places]
