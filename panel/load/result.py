"""What a load measured: while it goes on (`Progress`) and when it is over (`LoadResult`). Values, in s and tokens.

Names of the columns are those of `panel.results`, so that a load stands in one table with imported benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .statistics import Spread

__all__ = ["LATENCIES", "PROGRESS_COLUMNS", "ErrorCount", "LoadResult", "Progress", "columns_of"]

LATENCIES = ("ttft", "itl", "tpot", "e2e")


@dataclass(frozen=True, slots=True)
class Progress:
    """One sample of a load that goes on; rates and percentiles are of the last seconds, None without any value.

    Attributes:
        at_s: since the measured part began.
        running: requests under way now.
    """

    at_s: float
    sent: int
    running: int
    completed: int
    failed: int
    requests_per_s: float
    input_tokens_per_s: float
    output_tokens_per_s: float
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    itl_p50_s: float | None
    itl_p99_s: float | None

    def row(self) -> list[float | None]:
        """Returns the values in the order of PROGRESS_COLUMNS, rounded to what can be seen."""
        values = [getattr(self, name) for name in PROGRESS_COLUMNS]
        return [round(value, 5) if isinstance(value, float) else value for value in values]


PROGRESS_COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Progress))


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """How often requests failed in one way, and what the first of them said."""

    kind: str
    count: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What was measured, warm-up excluded.

    Attributes:
        model: as it was asked, prompts_from: in a few words.
        duration_s: from the first request to the last answer.
        cut: requests that were under way when the load was stopped; they count nowhere else.
        input_tokens: of completed requests, as are output_tokens; the server's numbers where it tells them.
        e2e: from sending to the last token. tpot: of each request, the mean time per token after the first.
        concurrency_mean: requests under way, over time.
        good: completed requests within the limits; None when none were set.
        lag_p99_s: how late the load generator's own clock was; with much of it the generator was the bottleneck.
        curves: percentiles 0 to 100 of each latency, in s.
        ended: finished, stopped by the person, or gave-up when nothing succeeded.
    """

    model: str
    prompts_from: str
    started_at: float
    duration_s: float
    sent: int
    completed: int
    failed: int
    cut: int
    errors: tuple[ErrorCount, ...]
    input_tokens: int
    output_tokens: int
    ttft: Spread | None
    itl: Spread | None
    tpot: Spread | None
    e2e: Spread | None
    concurrency_mean: float
    concurrency_max: int
    good: int | None
    lag_p99_s: float
    curves: Mapping[str, tuple[float, ...]]
    ended: str
    notes: tuple[str, ...] = ()

    def per_s(self, count: int) -> float:
        """Returns a count over the whole duration."""
        return count / self.duration_s if self.duration_s > 0 else 0.0


def columns_of(result: LoadResult) -> dict[str, Any]:
    """Returns the measured columns by the names of `results.bench_result`, with a few of our own; None is unknown."""
    some = result.completed > 0
    columns: dict[str, Any] = {
        "requests_total": result.completed + result.failed,
        "requests_successful": result.completed,
        "requests_failed": result.failed,
        "input_tokens": result.input_tokens,
        "output_tokens": result.output_tokens,
        "duration_s": result.duration_s,
        "requests_per_s": result.per_s(result.completed) if some else None,
        "input_tokens_per_s": result.per_s(result.input_tokens) if some else None,
        "output_tokens_per_s": result.per_s(result.output_tokens) if some else None,
        "total_tokens_per_s": result.per_s(result.input_tokens + result.output_tokens) if some else None,
        "concurrency_mean": result.concurrency_mean,
        "concurrency_max": result.concurrency_max,
        "goodput_per_s": None if result.good is None else result.per_s(result.good),
        "good_percent": None if result.good is None or not some else 100 * result.good / result.completed,
        "client_lag_p99_ms": result.lag_p99_s * 1000,
    }
    for name in LATENCIES:
        found: Spread | None = getattr(result, name)
        for statistic in ("mean", "p50", "p90", "p99"):
            columns[f"{name}_{statistic}_ms"] = None if found is None else getattr(found, statistic) * 1000
    return columns
