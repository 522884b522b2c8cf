"""SGLang's `bench_one_batch_server`: its lines of text and its JSONL result file.

Pure. It sends one batch and divides input tokens by the time of prefill and output tokens by the time of decode.
What it calls last_ttft is the slowest request's time to first token, so no statistic of TTFT is filled from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .bench_result import BenchResult, Dialect
from .measures import measures_of_json, measures_of_text
from .run import Run

__all__ = ["BatchLines", "begins_batch", "is_batch_record", "result_of_record", "warm_up_mark"]

_LINE = re.compile(
    r"(batch size|input_len|output_len|latency|input throughput|output throughput): (\S{1,40})(?: (s|tok/s))?[ \t]*"
)
_UNITS = {"latency": "s", "input throughput": "tok/s", "output throughput": "tok/s"}
_COLUMNS = {
    "batch size": "concurrency",
    "input_len": "input_length",
    "output_len": "output_length",
    "latency": "duration_s",
    "input throughput": "input_tokens_per_s",
    "output throughput": "output_tokens_per_s",
}
_KEYS = {
    "batch_size": "concurrency",
    "input_len": "input_length",
    "output_len": "output_length",
    "latency": "duration_s",
    "input_throughput": "input_tokens_per_s",
    "output_throughput": "output_tokens_per_s",
    "overall_throughput": "total_tokens_per_s",
    "total_output_tokens": "output_tokens",
}
_WARM_UP = re.compile(r"={4,} Warmup (Begin|End) {1,4}={4,}")


def begins_batch(text: str) -> bool:
    """Returns True for the first line of a result."""
    return text.startswith("batch size: ")


def warm_up_mark(text: str) -> bool | None:
    """Returns True where a warm-up begins, False where it ends, None for another line."""
    match = _WARM_UP.fullmatch(text)
    return None if match is None else match.group(1) == "Begin"


@dataclass(slots=True)
class BatchLines:
    """The lines of one result while they are read."""

    line: int
    _texts: dict[str, str] = field(default_factory=dict)

    def read(self, text: str) -> bool:
        """Takes one clean line and returns True when it belongs to the result."""
        match = _LINE.fullmatch(text)
        if match is None:
            return False
        label, number, unit = match.groups()
        if _UNITS.get(label) != unit:
            return False
        self._texts.setdefault(label, number)
        return True

    def result(self, run: Run, source: str) -> BenchResult | None:
        """Returns the result; None when these were another program's lines."""
        if "input_len" not in self._texts or "latency" not in self._texts:
            return None
        measures, _ = measures_of_text(self._texts.items(), _COLUMNS)
        return BenchResult(
            source=source,
            line=self.line,
            dialect=Dialect.SGLANG_ONE_BATCH,
            engine="sglang",
            model=run.model,
            requests_total=measures.get("concurrency"),
            complete="input throughput" in self._texts,
            **measures,
        )


def is_batch_record(record: Mapping[str, Any]) -> bool:
    """Returns True for a line of the result file."""
    return all(key in record for key in ("batch_size", "input_len", "latency", "last_ttft"))


def result_of_record(record: Mapping[str, Any], line: int, source: str) -> BenchResult:
    """Returns the result of one line of the result file."""
    measures = measures_of_json(record, _KEYS)
    return BenchResult(
        source=source,
        line=line,
        dialect=Dialect.SGLANG_ONE_BATCH,
        engine="sglang",
        requests_total=measures.get("concurrency"),
        **measures,
    )
