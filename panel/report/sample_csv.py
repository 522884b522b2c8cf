"""Samples as CSV: one column of times and one per series, with means and peaks where rows stand for longer times.

Pure. The report uses it; whoever offers samples as a file may.
"""

from __future__ import annotations

import csv
import io
import time

from ..runner.sample_range import SampleRange

__all__ = ["to_csv"]


def to_csv(samples: SampleRange) -> str:
    """Returns `samples` as CSV: unix seconds, UTC, then each series as `key (unit)`, and `max key (unit)` of means.

    A gap is an empty cell.
    """
    keys = sorted(samples.series)
    has_peaks = any(row.peaks for row in samples.rows)
    heads = [f"{key} ({samples.series[key].unit})" if samples.series[key].unit else key for key in keys]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["unix_s", "utc", *heads, *(f"max {head}" for head in heads if has_peaks)])
    for row in samples.rows:
        cells = [_cell(row.values.get(key)) for key in keys]
        if has_peaks:
            cells += [_cell(row.peaks.get(key)) for key in keys]
        writer.writerow([f"{row.t:.3f}", _utc(row.t), *cells])
    return text.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _utc(t: float) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t))
    except (ValueError, OverflowError, OSError):  # a clock gone mad
        return ""
