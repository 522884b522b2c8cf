"""Rows in the order in which they are compared, and which of them is the best at what.

Pure. Throughput and latency of prompts of another length are not comparable, so the best is chosen among rows that
asked for the same lengths. Warm-ups, runs without a success and one-batch benchmarks beside others do not compete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .bench_result import BenchResult, Dialect

__all__ = ["LOWEST_LATENCY", "MOST_THROUGHPUT", "Row", "compare"]

MOST_THROUGHPUT = "output_tokens_per_s"
LOWEST_LATENCY = "ttft_mean_ms"


@dataclass(frozen=True, slots=True)
class Row:
    """A result with the columns in which it is the best of its lengths."""

    result: BenchResult
    best: tuple[str, ...] = ()


def compare(results_of_files: Iterable[Sequence[BenchResult]]) -> list[Row]:
    """Returns the rows file by file, each file's by concurrency, lengths and iteration."""
    results = [result for results in results_of_files for result in sorted(results, key=_order)]
    rivals: dict[tuple[int | None, int | None, bool], list[BenchResult]] = {}
    for result in results:
        if not result.is_warm_up and result.requests_successful != 0:
            one_batch = result.dialect is Dialect.SGLANG_ONE_BATCH
            rivals.setdefault((result.input_length, result.output_length, one_batch), []).append(result)
    best: dict[int, list[str]] = {}
    for group in rivals.values():
        for column, choose in ((MOST_THROUGHPUT, max), (LOWEST_LATENCY, min)):
            numbers = [number for result in group if (number := getattr(result, column)) is not None]
            if len(numbers) < 2:
                continue
            target = choose(numbers)
            for result in group:
                if getattr(result, column) == target:
                    best.setdefault(id(result), []).append(column)
    return [Row(result, tuple(best.get(id(result), ()))) for result in results]


def _order(result: BenchResult) -> tuple[tuple[bool, int], ...]:
    numbers = (result.concurrency, result.input_length, result.output_length, result.iteration, result.line)
    return tuple((number is None, number or 0) for number in numbers)
