"""SGLang's `bench_serving` (today `sglang.benchmark.serving`): its text block and its JSONL result file.

Pure. It prints no number of failed requests: that follows from how many were sent, which the log around the block
says. Its line `Concurrency` is what was measured, not what was allowed, and is no column here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .bench_result import BenchResult, Dialect
from .block import ServingBlock
from .measures import Measures, latency_labels, measures_of_json, measures_of_text
from .run import Run

__all__ = ["engine_of", "is_sglang_block", "is_sglang_record", "result_of_block", "result_of_record"]

_LATENCIES = {"ttft": "ttft", "tpot": "tpot", "itl": "itl"}
_LABELS = {
    "max request concurrency": "concurrency",
    "max reqeuest concurrency": "concurrency",  # The spelling of SGLang 0.4.
    "traffic request rate": "request_rate",
    "successful requests": "requests_successful",
    "benchmark duration (s)": "duration_s",
    "total input tokens": "input_tokens",
    "total generated tokens": "output_tokens",
    "request throughput (req/s)": "requests_per_s",
    "input token throughput (tok/s)": "input_tokens_per_s",
    "output token throughput (tok/s)": "output_tokens_per_s",
    "total token throughput (tok/s)": "total_tokens_per_s",
} | latency_labels("{statistic} {name} (ms)", _LATENCIES | {"e2e latency": "e2e"})
_KEYS = {
    "max_concurrency": "concurrency",
    "request_rate": "request_rate",
    "completed": "requests_successful",
    "duration": "duration_s",
    "total_input_tokens": "input_tokens",
    "total_output_tokens": "output_tokens",
    "request_throughput": "requests_per_s",
    "input_throughput": "input_tokens_per_s",
    "output_throughput": "output_tokens_per_s",
    "total_throughput": "total_tokens_per_s",
} | latency_labels("{statistic}_{name}_ms", _LATENCIES | {"e2e_latency": "e2e"})
# Any of them is printed by SGLang's client alone.
_OWN_LABELS = (
    "backend",
    "max request concurrency",
    "max reqeuest concurrency",
    "input token throughput (tok/s)",
    "total generated tokens (retokenized)",
    "mean e2e latency (ms)",
)
_OWN_KEYS = ("input_throughput", "total_output_tokens_retokenized", "mean_e2e_latency_ms")


def engine_of(backend: str | None, own: str) -> str:
    """Returns the engine behind a client's `--backend`: the client's `own` where that names an API alone."""
    if backend is None:
        return own
    for engine in ("sglang", "vllm"):
        if backend.startswith(engine):
            return engine
    return own if backend.startswith("openai") else backend


def is_sglang_block(block: ServingBlock) -> bool:
    """Returns True for a block of SGLang's client."""
    return any(label in block for label in _OWN_LABELS)


def result_of_block(block: ServingBlock, run: Run, source: str) -> tuple[BenchResult, tuple[str, ...]]:
    """Returns the result and the labels whose number is refused."""
    measures, refused = measures_of_text(block.texts(), _LABELS)
    run.fill(measures)
    if (sent := run.requests_sent(measures.get("requests_successful"))) is not None:
        measures["requests_total"] = sent
    _count_failed(measures)
    backend = block.text("backend") or run.backend
    known = BenchResult(
        source=source,
        line=block.line,
        dialect=Dialect.SGLANG_SERVING,
        engine=engine_of(backend, "sglang"),
        model=run.model,
        **measures,
    )
    return known, refused


def is_sglang_record(record: Mapping[str, Any]) -> bool:
    """Returns True for a line of the result file."""
    return "request_throughput" in record and any(key in record for key in _OWN_KEYS)


def result_of_record(record: Mapping[str, Any], line: int, source: str) -> BenchResult:
    """Returns the result of one line of the result file."""
    measures = measures_of_json(record, _KEYS)
    lengths = record.get("output_lens")
    errors = record.get("errors")
    for details in (errors, lengths):  # Both are there with --output-details alone.
        if isinstance(details, list) and details:
            measures["requests_total"] = len(details)
            break
    _count_failed(measures)
    backend = record.get("backend")
    data_set = record.get("dataset_name")
    if isinstance(data_set, str) and data_set.startswith("random"):
        measures |= measures_of_json(record, {"random_input_len": "input_length", "random_output_len": "output_length"})
    return BenchResult(
        source=source,
        line=line,
        dialect=Dialect.SGLANG_SERVING,
        engine=engine_of(backend if isinstance(backend, str) else None, "sglang"),
        model=_model_of(record.get("server_info")),
        **measures,
    )


def _count_failed(measures: Measures) -> None:
    total, successful = measures.get("requests_total"), measures.get("requests_successful")
    if total is None or successful is None:
        return
    if total < successful:
        del measures["requests_total"]
    else:
        measures["requests_failed"] = total - successful


def _model_of(server: object) -> str | None:
    """Returns the model that a worker's or a router's /server_info names."""
    if not isinstance(server, dict):
        return None
    for workers in (server.get("decode"), server.get("prefill"), [server]):
        if not isinstance(workers, list) or not workers or not isinstance(workers[0], dict):
            continue
        for key in ("served_model_name", "model_path"):
            if isinstance(name := workers[0].get(key), str) and name:
                return name
    return None
