"""The recent samples of one run as the panel holds them while somebody looks.

Pure: batches in, a matrix of numbers out. The hub keeps one trace per run that a browser has selected and feeds it
what the runner has sampled since; `cut` makes packets of it. An hour of 700 series takes about 20 MB.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .port import SampleBatch, SeriesView

__all__ = ["Trace"]

_LONGEST = 7200
_SPARE = 900
_FIRST = 256

Matrix = NDArray[np.float32]


class Trace:
    """A ring of the newest samples of one run.

    Attributes:
        run_id: the run.
        last_seq: number of the newest sample taken.
        version: changes when rows or series are no longer what followers were told: they must be told anew.
        end: how many rows were ever taken; rows are numbered from 0.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.last_seq = 0
        self.version = 0
        self.end = 0
        self._series: tuple[SeriesView, ...] = ()
        self._places: dict[str, int] = {}
        self._times: NDArray[np.float64] = np.empty(_FIRST, dtype=np.float64)
        self._values: Matrix = np.full((_FIRST, 0), np.nan, dtype=np.float32)
        self._held = 0

    def extend(self, batch: SampleBatch) -> None:
        """Takes in what was sampled since `last_seq`."""
        self.last_seq = max(self.last_seq, batch.last_seq)
        if batch.series and batch.series != self._series:
            self._take_series(batch.series)
        for moment, values in batch.rows:
            self._make_room(moment)
            row = self._values[self._held]
            row[:] = np.nan
            for key, value in values.items():
                place = self._places.get(key)
                if place is not None:
                    row[place] = value
            self._times[self._held] = moment
            self._held += 1
            self.end += 1

    def series(self, groups: Collection[str] | None) -> list[tuple[int, SeriesView]]:
        """Returns the series of these groups (None: all) with the column of each in `rows`."""
        return [(self._places[one.key], one) for one in self._series if groups is None or one.group in groups]

    def rows(self, first: int) -> tuple[NDArray[np.float64], Matrix]:
        """Returns times and values (a matrix: row, column; NaN is missing) of the held rows from number `first`."""
        begin = max(0, self._held - (self.end - first))
        return self._times[begin : self._held], self._values[begin : self._held]

    def recent(self, window_s: float) -> tuple[NDArray[np.float64], Matrix]:
        """Returns the rows of the last `window_s` seconds before the newest one."""
        times = self._times[: self._held]
        begin = int(np.searchsorted(times, times[-1] - window_s)) if self._held else 0
        return times[begin:], self._values[begin : self._held]

    def _take_series(self, series: tuple[SeriesView, ...]) -> None:
        self._series = series
        self.version += 1
        for one in series:
            self._places.setdefault(one.key, len(self._places))
        missing = len(self._places) - self._values.shape[1]
        if missing:
            more: Matrix = np.full((self._values.shape[0], missing), np.nan, dtype=np.float32)
            self._values = np.concatenate([self._values, more], axis=1)

    def _make_room(self, moment: float) -> None:
        if self._held and self._times[self._held - 1] >= moment:
            # The clock was put back: what lies in the future now cannot stand before this row.
            self._held = int(np.searchsorted(self._times[: self._held], moment))
            self.version += 1
        if self._held < len(self._times):
            return
        if len(self._times) < _LONGEST + _SPARE:
            size = min(2 * len(self._times), _LONGEST + _SPARE)
            self._times = np.resize(self._times, size)
            grown: Matrix = np.full((size, self._values.shape[1]), np.nan, dtype=np.float32)
            grown[: self._held] = self._values[: self._held]
            self._values = grown
            return
        kept: slice[Any, Any, Any] = slice(self._held - _LONGEST, self._held)
        self._times[:_LONGEST] = self._times[kept].copy()
        self._values[:_LONGEST] = self._values[kept].copy()
        self._held = _LONGEST
