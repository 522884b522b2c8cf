"""vLLM's `vllm bench serve` and its predecessor `benchmark_serving.py`: text block and JSON result file.

Pure. It prints no throughput of input tokens, and which latencies it prints is an option of its own. What it calls
E2EL is the whole request from when it was sent; waiting inside the client has labels of its own and is no column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .bench_result import BenchResult, Dialect
from .block import ServingBlock
from .measures import Measures, latency_labels, measures_of_json, measures_of_text
from .run import Run
from .sglang_serving import engine_of

__all__ = ["is_vllm_record", "result_of_block", "result_of_record"]

_LATENCIES = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "e2e"}
_LABELS = {
    "maximum request concurrency": "concurrency",
    "request rate configured (rps)": "request_rate",
    "successful requests": "requests_successful",
    "failed requests": "requests_failed",
    "benchmark duration (s)": "duration_s",
    "total input tokens": "input_tokens",
    "total generated tokens": "output_tokens",
    "request throughput (req/s)": "requests_per_s",
    "output token throughput (tok/s)": "output_tokens_per_s",
    "total token throughput (tok/s)": "total_tokens_per_s",
} | latency_labels("{statistic} {name} (ms)", _LATENCIES)
_KEYS = {
    "max_concurrency": "concurrency",
    "request_rate": "request_rate",
    "completed": "requests_successful",
    "failed": "requests_failed",
    "duration": "duration_s",
    "total_input_tokens": "input_tokens",
    "total_output_tokens": "output_tokens",
    "request_throughput": "requests_per_s",
    "output_throughput": "output_tokens_per_s",
    "total_token_throughput": "total_tokens_per_s",
} | latency_labels("{statistic}_{name}_ms", _LATENCIES)


def result_of_block(block: ServingBlock, run: Run, source: str) -> tuple[BenchResult, tuple[str, ...]]:
    """Returns the result and the labels whose number is refused."""
    measures, refused = measures_of_text(block.texts(), _LABELS)
    run.fill(measures)
    _count_requests(measures, run.requests_sent(measures.get("requests_successful")))
    known = BenchResult(
        source=source,
        line=block.line,
        dialect=Dialect.VLLM_SERVE,
        engine=engine_of(run.backend, "vllm"),
        model=run.model,
        **measures,
    )
    return known, refused


def is_vllm_record(record: Mapping[str, Any]) -> bool:
    """Returns True for a result file, also one of those that --append-result joined."""
    return "request_throughput" in record and "total_token_throughput" in record


def result_of_record(record: Mapping[str, Any], line: int, source: str) -> BenchResult:
    """Returns the result of one JSON object."""
    measures = measures_of_json(record, _KEYS)
    asked = measures_of_json(record, {"num_prompts": "requests_total"}).get("requests_total")
    _count_requests(measures, asked)
    model, backend = record.get("model_id"), record.get("backend")
    return BenchResult(
        source=source,
        line=line,
        dialect=Dialect.VLLM_SERVE,
        engine=engine_of(backend if isinstance(backend, str) else None, "vllm"),
        model=model if isinstance(model, str) and model else None,
        **measures,
    )


def _count_requests(measures: Measures, sent: int | None) -> None:
    """Completes the numbers of requests; `sent` serves versions that print no failed ones."""
    successful, failed = measures.get("requests_successful"), measures.get("requests_failed")
    if successful is None:
        return
    if failed is not None:
        measures["requests_total"] = successful + failed
    elif sent is not None and sent >= successful:
        measures["requests_total"] = sent
        measures["requests_failed"] = sent - successful
