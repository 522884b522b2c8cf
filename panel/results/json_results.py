"""Reads a file of JSON results: one object a line, several joined, or one printed over many lines.

Pure. A line that is broken, as a full disk leaves it, costs itself alone. Called by `parse`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from . import pdpanel_load, sglang_one_batch, sglang_serving, vllm_serve
from .bench_result import BenchResult
from .observed import Observed
from .transfer_errors import TransferErrorCount, reports_transfer_error

__all__ = ["read_json_results"]

_DIALECTS = (
    (pdpanel_load.is_own_record, pdpanel_load.result_of_record),
    (sglang_one_batch.is_batch_record, sglang_one_batch.result_of_record),
    (sglang_serving.is_sglang_record, sglang_serving.result_of_record),
    (vllm_serve.is_vllm_record, vllm_serve.result_of_record),
)
_SPACE = " \t\r\n,"
# A text that goes on like this is no JSON.
_MOST_BROKEN = 500
_LONGEST_NAME = 500


def read_json_results(text: str, source: str) -> Observed | None:
    """Returns what a text of JSON holds; None when it holds no result of a benchmark."""
    results = []
    broken: list[int] = []
    errors = TransferErrorCount()
    for line, value in _values(text):
        if value is None:
            broken.append(line)
            if len(broken) == _MOST_BROKEN:
                break
            continue
        exported = pdpanel_load.records_of_export(value)
        records = value if isinstance(value, list) else exported or [value]
        for record in records:
            if isinstance(record, dict) and (result := _result(record, line, source)) is not None:
                results.append(result)
                _count_errors(record.get("errors"), line, errors)
                errors.end_run(result.concurrency)
    if not results:
        return None
    lines = text.count("\n") + (not text.endswith("\n"))
    return Observed(source, lines, tuple(results), transfer_errors=errors.total(), broken=tuple(broken))


def _result(record: Mapping[str, Any], line: int, source: str) -> BenchResult | None:
    for is_own, result_of in _DIALECTS:
        if is_own(record):
            result = result_of(record, line, source)
            return replace(result, model=_printable(result.model), engine=_printable(result.engine))
    return None


def _printable(text: str | None) -> str | None:
    """Returns a text of bounded length that every output can encode: JSON may hold half of a character."""
    return None if text is None else text[:_LONGEST_NAME].encode("utf-8", "replace").decode()


def _count_errors(reported: object, line: int, errors: TransferErrorCount) -> None:
    for error in reported if isinstance(reported, list) else ():
        if isinstance(error, str) and reports_transfer_error(error):
            errors.add(line, error.encode("utf-8", "replace").decode())


def _values(text: str) -> Iterator[tuple[int, Any]]:
    """Yields each JSON value with its line from 1, None for a line that is broken."""
    decoder = json.JSONDecoder()
    place, line = 0, 1
    while True:
        start = place
        while place < len(text) and text[place] in _SPACE:
            place += 1
        line += text.count("\n", start, place)
        if place == len(text):
            return
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            # The next object begins on a line of its own.
            yield line, None
            end = text.find("\n", place)
            end = len(text) if end < 0 else end
        else:
            yield line, value
        line += text.count("\n", place, end)
        place = end
