"""Saved results as JSON, CSV and Markdown, one row each, in the same order of columns.

Pure. A spreadsheet runs a cell that begins like a formula, so text of that kind gets an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..runner.journal import one_line
from ..simulate.marks import marked_text

__all__ = ["COLUMNS", "FORMATS", "export", "plain_numbers"]

FORMATS = {"json": "application/json", "csv": "text/csv", "md": "text/markdown"}
_LABELS = (
    "id",
    "name",
    "kind",
    "state",
    "created_at",
    "mode",
    "transport",
    "model",
    "url",
    "arrival",
    "input",
    "output",
)
_MEASURED = (
    "requests_total requests_successful requests_failed input_tokens output_tokens duration_s requests_per_s "
    "input_tokens_per_s output_tokens_per_s total_tokens_per_s concurrency_mean concurrency_max goodput_per_s "
    "good_percent client_lag_p99_ms"
).split()
_LATENCIES = tuple(
    f"{name}_{each}_ms" for name in ("ttft", "itl", "tpot", "e2e") for each in ("mean", "p50", "p90", "p99")
)
_ACCURACY = ("exact_match", "exact_match_stderr", "questions")
COLUMNS = (*_LABELS, *_MEASURED, *_LATENCIES, *_ACCURACY)
_IN_MARKDOWN = (
    "name mode transport arrival input output requests_per_s output_tokens_per_s ttft_p50_ms ttft_p99_ms itl_p50_ms "
    "itl_p99_ms e2e_p50_ms goodput_per_s exact_match"
).split()
_FORMULA_BEGINS = ("=", "+", "-", "@")


def plain_numbers(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns with floats of six significant digits; what JSON has no number for is None."""
    return {
        name: (None if not math.isfinite(value) else float(f"{value:.6g}")) if isinstance(value, float) else value
        for name, value in columns.items()
    }


def export(entries: Sequence[Mapping[str, Any]], form: str, simulated: str = "") -> str:
    """Returns saved entries in one of FORMATS; JSON has everything of them, the others one row each.

    Args:
        entries: the results.
        form: which format.
        simulated: what every text says of the simulated host that they are of; empty for a real one.
    """
    if form == "json":
        mark = {"simulated": simulated} if simulated else {}
        return json.dumps({**mark, "results": list(entries)}, indent=2) + "\n"
    text = _table(entries, form)
    return marked_text(f".{form}", text, simulated) if simulated else text


def _table(entries: Sequence[Mapping[str, Any]], form: str) -> str:
    rows = [_row(entry) for entry in entries]
    if form == "md":
        shown = [name for name in _IN_MARKDOWN if name == "name" or any(row[name] not in (None, "") for row in rows)]
        lines = ["| " + " | ".join(shown) + " |", "|" + " --- |" * len(shown)]
        lines += ["| " + " | ".join(_markdown(row[name]) for name in shown) + " |" for row in rows]
        return "\n".join(lines) + "\n"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in COLUMNS])
    return text.getvalue()


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    known = {**(entry.get("spec") or {}), **(entry.get("columns") or {}), **entry}
    return {name: known.get(name) for name in COLUMNS}


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(_FORMULA_BEGINS) else text


def _markdown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    # Everything that Markdown or HTML could read as more than text.
    return "".join(f"\\{each}" if each in "\\|`*_[]<>#" else each for each in one_line(str(value)))
