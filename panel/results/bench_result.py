"""One row of the table: what one run of a benchmark measured, whoever wrote it down.

A value. It knows no log format; the dialects make it, `comparison`, `results_text` and `export` show it. What is not
known is None and never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

__all__ = ["COLUMNS", "COUNTS", "LATENCIES", "BenchResult", "Dialect"]


class Dialect(StrEnum):
    """Who wrote the result."""

    MAD_SEED = "mad-seed"
    """A sweep of ROCm's MAD scripts with `[RUNNING]` markers, around SGLang's or vLLM's text."""
    MAD = "mad"
    """A sweep of MAD's current scripts, with `RUNNING:` markers."""
    SGLANG_SERVING = "sglang-bench-serving"
    SGLANG_ONE_BATCH = "sglang-bench-one-batch-server"
    VLLM_SERVE = "vllm-bench-serve"
    PDPANEL_LOAD = "pdpanel-load"
    """A result that pdpanel itself has saved or exported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """One run.

    Attributes:
        source: the file.
        line: where the result begins, from 1.
        engine: what was measured, as the client was told: `sglang`, `vllm` or another backend's name; the client's
            own engine where it was told of an API alone.
        prefill_workers: P of an xPyD deployment, decode_workers its D.
        iteration: of a sweep, from 1; 0 is a warm-up.
        concurrency: the most requests at once that the client allowed itself, or the batch size.
        request_rate: requests/s that the client aimed at; infinite when it sent them all at once.
        input_length: tokens of a prompt as they were asked for, output_length those of an answer.
        requests_total: requests that were sent.
        input_tokens: of all requests that succeeded, as are output_tokens.
        requests_per_s: over the whole run, as are the three rates of tokens. A one-batch benchmark divides input
            tokens by the time of prefill and output tokens by the time of decode instead.
        ttft_mean_ms: time to first token. tpot: time per output token after the first. itl: time between tokens.
            e2e: the whole request. p50 is the median.
        complete: False when the text ends before the result does.
    """

    source: str
    line: int
    dialect: Dialect
    engine: str | None = None
    model: str | None = None
    prefill_workers: int | None = None
    decode_workers: int | None = None
    iteration: int | None = None
    concurrency: int | None = None
    request_rate: float | None = None
    input_length: int | None = None
    output_length: int | None = None
    requests_total: int | None = None
    requests_successful: int | None = None
    requests_failed: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    duration_s: float | None = None
    requests_per_s: float | None = None
    input_tokens_per_s: float | None = None
    output_tokens_per_s: float | None = None
    total_tokens_per_s: float | None = None
    ttft_mean_ms: float | None = None
    ttft_p50_ms: float | None = None
    ttft_p90_ms: float | None = None
    ttft_p99_ms: float | None = None
    tpot_mean_ms: float | None = None
    tpot_p50_ms: float | None = None
    tpot_p90_ms: float | None = None
    tpot_p99_ms: float | None = None
    itl_mean_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p90_ms: float | None = None
    itl_p99_ms: float | None = None
    e2e_mean_ms: float | None = None
    e2e_p50_ms: float | None = None
    e2e_p90_ms: float | None = None
    e2e_p99_ms: float | None = None
    complete: bool = True

    @property
    def is_warm_up(self) -> bool:
        """True for a run that a sweep made before it began to count."""
        return self.iteration == 0


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(BenchResult))
LATENCIES = ("ttft", "tpot", "itl", "e2e")
COUNTS = frozenset(
    {
        "concurrency",
        "requests_total",
        "requests_successful",
        "requests_failed",
        "input_tokens",
        "output_tokens",
        "input_length",
        "output_length",
    }
)
"""Columns that hold whole numbers."""
