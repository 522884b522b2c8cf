"""From labels and texts, or keys and JSON values, to the columns of a `BenchResult`.

Pure. The dialects say which label means which column; here the numbers are read, each in the unit that its label
names. A label that is not known is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from .bench_result import COLUMNS, COUNTS
from .number import RefusedNumberError, read_count, read_number, value_number

__all__ = ["MEASURED", "Measures", "latency_labels", "measures_of_json", "measures_of_text"]

Measures = dict[str, Any]
"""Columns of a `BenchResult` by name; numbers that are known."""

MEASURED = ("requests_successful", *(column for column in COLUMNS if column.endswith(("_s", "_ms"))))
"""The columns that a benchmark measures; the others say what it was told."""

_PERCENTILES = {"mean": "mean", "median": "p50", "p50": "p50", "p90": "p90", "p99": "p99"}
# Only of these an infinite value says something.
_MAY_BE_INFINITE = frozenset({"request_rate"})


def latency_labels(form: str, names: Mapping[str, str]) -> dict[str, str]:
    """Returns the labels of latencies with their columns.

    Args:
        form: how a label is made, such as `{statistic} {name} (ms)`.
        names: what the dialect calls each latency, such as `e2el`, with what the columns call it.
    """
    return {
        form.format(statistic=word, name=name): f"{column}_{statistic}_ms"
        for name, column in names.items()
        for word, statistic in _PERCENTILES.items()
    }


def measures_of_text(texts: Iterable[tuple[str, str]], columns: Mapping[str, str]) -> tuple[Measures, tuple[str, ...]]:
    """Returns what labelled texts say, and the labels whose number is refused.

    Args:
        texts: labels in lower case without their colon, with their texts, in the order of the log.
        columns: the column that a label fills; of two labels for one column the first counts.
    """
    measures: Measures = {}
    refused = []
    for label, text in texts:
        column = columns.get(label)
        if column is None or column in measures:
            continue
        try:
            number = read_count(text) if column in COUNTS else read_number(text)
        except RefusedNumberError:
            refused.append(label)
            continue
        _keep(measures, column, number)
    return measures, tuple(refused)


def measures_of_json(record: Mapping[str, Any], columns: Mapping[str, str]) -> Measures:
    """Returns what a JSON object says; the first key that is known counts for a column."""
    measures: Measures = {}
    for key, column in columns.items():
        if column in measures or (number := value_number(record.get(key))) is None:
            continue
        if column in COUNTS:
            if math.isinf(number) or number != int(number):
                continue
            number = int(number)
        _keep(measures, column, number)
    return measures


def _keep(measures: Measures, column: str, number: float | None) -> None:
    if number is not None and (math.isfinite(number) or column in _MAY_BE_INFINITE):
        measures[column] = number
