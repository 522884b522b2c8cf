"""The table as JSON and as CSV, with the same columns in the same order.

Pure. A spreadsheet runs a cell that begins like a formula, so text of that kind gets an apostrophe before it; numbers
stay numbers. A rate of requests without a limit is the word inf, which JSON has no number for.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from typing import Any

from ..runner.journal import one_line
from .bench_result import COLUMNS
from .comparison import Row

__all__ = ["rows_csv", "rows_json"]

_FORMULA_BEGINS = ("=", "+", "-", "@")


def rows_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Returns one JSON object per row: the columns, and `best` with those in which it is the best."""
    return [
        {column: _plain(getattr(row.result, column)) for column in COLUMNS} | {"best": list(row.best)} for row in rows
    ]


def rows_csv(rows: Iterable[Row]) -> str:
    """Returns the table with a heading; what is unknown is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "best"])
    for row in rows:
        cells = [_cell(_plain(getattr(row.result, column))) for column in COLUMNS]
        writer.writerow([*cells, " ".join(row.best)])
    return text.getvalue()


def _plain(value: object) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    return str(value) if isinstance(value, str) else value


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(_FORMULA_BEGINS) else text
