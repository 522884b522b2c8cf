"""What browsers that look at the same groups of a run's series are sent: a history first, then what changed.

Pure: a `Trace` in, JSON texts out, made once for all who follow. The list of series travels once and again when it
changes; a row is [time, [first index, value, ...], ...] with the values that differ from the row before. Called by
`hub`, understood by `static/store.js`.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import asdict
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from .number_text import changed_segments, number_text
from .trace import Matrix, Trace

__all__ = ["POINTS", "Cut", "thinned"]

# More rows than this in a window are joined to means: a chart has no more pixels to show them.
POINTS = 600
# Beyond so many series a chart has a line for a few of them, and a tab shall not take more than 10 kB/s.
_FEW = 320


def thinned(times: NDArray[np.float64], values: Matrix, step_s: float) -> tuple[NDArray[np.float64], Matrix]:
    """Returns the means over stretches of `step_s` seconds; a stretch without a value of a column stays missing."""
    slots = np.floor(times / step_s)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(slots)) + 1])
    known = ~np.isnan(values)
    counts = np.add.reduceat(known.astype(np.float32), starts, axis=0)
    sums = np.add.reduceat(np.where(known, values, 0).astype(np.float64), starts, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (sums / counts).astype(np.float32)
    # The last time of a stretch: a mean is known once the stretch is over.
    ends = np.concatenate([starts[1:], [len(times)]]) - 1
    return times[ends], means


def _column(values: NDArray[np.float32], digits: int) -> str:
    """Returns one column as JSON: an array, or one value where all are the same."""
    texts = [number_text(value, digits) for value in cast(list[float], values.tolist())]
    return texts[0] if len(set(texts)) == 1 else f"[{','.join(texts)}]"


class Cut:
    """The series of some groups of a trace, and what their followers hold of them.

    Args:
        trace: the samples.
        groups: the groups wanted; None for all.
    """

    def __init__(self, trace: Trace, groups: Collection[str] | None) -> None:
        self._trace = trace
        self._groups = groups
        self._version = -1
        # Rows of another selection may still be on their way when a browser changes its own.
        chosen = "" if groups is None else ",".join(sorted(groups))
        self._mark = f"{zlib.crc32(chosen.encode()):x}"
        self._places: list[int] = []
        self._digits = 4
        self._before: list[str] = []
        self._given = 0

    def news(self) -> str | None:
        """Returns the packet with the rows since the last call, "" for none; None: followers need `whole` again."""
        if self._version != self._trace.version:
            self._begin()
            return None
        times, values = self._trace.rows(self._given)
        self._given = self._trace.end
        if not len(times):
            return ""
        rows = ",".join(self._row(moment, row) for moment, row in zip(times.tolist(), values, strict=True))
        return f'{{"type":"rows","run":{self._run()},"version":"{self._version}.{self._mark}","rows":[{rows}]}}'

    def whole(self, window_s: float) -> str:
        """Returns the packet with the series and their last `window_s` seconds, up to the last call of `news`."""
        assert self._version == self._trace.version
        series = [asdict(one) for _, one in self._trace.series(self._groups)]
        # Which groups there are at all: what is folded away may be empty.
        groups = msgspec.json.encode(sorted({one.group for _, one in self._trace.series(None)})).decode()
        times, values = self._trace.recent(window_s)
        step = 0.0
        if len(times) > 1.2 * POINTS:
            step = float(times[-1] - times[0]) / POINTS
            times, values = thinned(times, values[:, self._places], step)
        else:
            values = values[:, self._places]
        stamps = np.round(times * 1000).astype(np.int64)
        apart = ",".join(map(str, np.diff(stamps, prepend=stamps[:1]).tolist()))
        columns = (
            ",".join(_column(values[:, place], self._digits) for place in range(values.shape[1])) if len(times) else ""
        )
        return (
            f'{{"type":"history","run":{self._run()},"version":"{self._version}.{self._mark}","window_s":{window_s:g},'
            f'"step_s":{step:g},"groups":{groups},"series":{msgspec.json.encode(series).decode()},'
            f'"t0":{int(stamps[0]) if len(stamps) else 0},"apart":[{apart}],"columns":[{columns}],'
            f'"base":[{",".join(self._before)}]}}'
        )

    def _begin(self) -> None:
        self._version = self._trace.version
        self._places = [place for place, _ in self._trace.series(self._groups)]
        self._digits = 4 if len(self._places) <= _FEW else 3
        self._given = self._trace.end
        _, values = self._trace.rows(self._trace.end - 1)
        self._before = self._texts(values[-1]) if len(values) else ["null"] * len(self._places)

    def _texts(self, row: NDArray[np.float32]) -> list[str]:
        return [number_text(value, self._digits) for value in cast(list[float], row[self._places].tolist())]

    def _row(self, moment: float, row: NDArray[np.float32]) -> str:
        texts = self._texts(row)
        segments = changed_segments(self._before, texts)
        self._before = texts
        return f"[{moment:.3f}{',' if segments else ''}{segments}]"

    def _run(self) -> str:
        return msgspec.json.encode(self._trace.run_id).decode()
