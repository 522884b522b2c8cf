"""The table for a terminal: what all rows share above it, a column for what they differ in, stars for the best.

Pure. Columns of which nothing is known are left out. Names come from files, so control characters are removed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from ..probe_text import table
from ..runner.journal import one_line
from .bench_result import BenchResult
from .comparison import LOWEST_LATENCY, MOST_THROUGHPUT, Row

__all__ = ["results_text"]

_NOTHING = "-"
_STAR = " *"


def results_text(rows: Sequence[Row]) -> str:
    """Returns the rows for a terminal, ending in a newline; empty without rows."""
    if not rows:
        return ""
    shared, columns = [], []
    for heading, cell in _told(rows):
        cells = [cell(row.result) for row in rows]
        if len(set(cells)) > 1:
            columns.append((heading, cells))
        elif cells[0] != _NOTHING:
            shared.append(f"{heading}: {one_line(cells[0])}")
    columns += [(heading, [_shown(row, column) for row in rows]) for heading, column in _MEASURED]
    columns = [column for column in columns if any(cell != _NOTHING for cell in column[1])]
    lines = [*shared, ""] if shared else []
    lines += table([heading for heading, _ in columns], list(zip(*(cells for _, cells in columns), strict=True)))
    if any(row.best for row in rows):
        lines += ["", "* the best among rows of the same lengths: most output tokens/s, lowest mean TTFT"]
    return "\n".join(lines) + "\n"


_Cell = Callable[[BenchResult], str]

_MEASURED = (
    ("duration s", "duration_s"),
    ("req/s", "requests_per_s"),
    ("in tok/s", "input_tokens_per_s"),
    ("out tok/s", MOST_THROUGHPUT),
    ("total tok/s", "total_tokens_per_s"),
    ("TTFT ms", LOWEST_LATENCY),
    ("p99", "ttft_p99_ms"),
    ("TPOT ms", "tpot_mean_ms"),
    ("p99", "tpot_p99_ms"),
    ("ITL ms", "itl_mean_ms"),
    ("p99", "itl_p99_ms"),
    ("E2E ms", "e2e_mean_ms"),
    ("p99", "e2e_p99_ms"),
)


def _told(rows: Sequence[Row]) -> Sequence[tuple[str, _Cell]]:
    """Returns headings and cells of what was known before the run."""
    names = _short_names({row.result.source for row in rows})
    return (
        ("file", lambda result: names[result.source]),
        ("written by", lambda result: str(result.dialect)),
        ("engine", lambda result: result.engine or _NOTHING),
        ("model", lambda result: result.model or _NOTHING),
        ("workers", _workers),
        ("at once", lambda result: _count(result.concurrency)),
        ("rate", lambda result: _NOTHING if result.request_rate is None else f"{result.request_rate:g}"),
        ("in/out", _lengths),
        ("iteration", lambda result: "warm-up" if result.is_warm_up else _count(result.iteration)),
        ("succeeded", _succeeded),
    )


def _short_names(sources: set[str]) -> dict[str, str]:
    """Returns the last part of each path, the whole path where two are alike."""
    last = {source: source.replace("\\", "/").rsplit("/", 1)[-1] for source in sources}
    times = Counter(last.values())
    return {source: name if times[name] == 1 and name else source for source, name in last.items()}


def _count(number: int | None) -> str:
    return _NOTHING if number is None else str(number)


def _workers(result: BenchResult) -> str:
    if result.prefill_workers is None or result.decode_workers is None:
        return _NOTHING
    return f"{result.prefill_workers}P{result.decode_workers}D"


def _lengths(result: BenchResult) -> str:
    if result.input_length is None and result.output_length is None:
        return _NOTHING
    return f"{_count(result.input_length)}/{_count(result.output_length)}"


def _succeeded(result: BenchResult) -> str:
    if result.requests_total is None or result.requests_successful is None:
        return _count(result.requests_successful)
    return f"{result.requests_successful}/{result.requests_total}"


def _shown(row: Row, column: str) -> str:
    number = getattr(row.result, column)
    if number is None or not math.isfinite(number):
        return _NOTHING
    return f"{number:.2f}" + (_STAR if column in row.best else "")
