"""The text and the JSONL keys are those of sglang 0.5.23 (`sglang/benchmark/serving.py`), read in its wheel."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pdpanel.panel.results.bench_result import BenchResult
from pdpanel.panel.results.parse import parse_results
from pdpanel.panel.results.sglang_serving import engine_of, is_sglang_record, result_of_record

from .excerpts import SGLANG, SGLANG_COLUMNS, sglang_block

RECORD: dict[str, Any] = {
    "tag": None,
    "backend": "sglang",
    "dataset_name": "random",
    "request_rate": 4.0,
    "max_concurrency": 512,
    "sharegpt_output_len": None,
    "random_input_len": 8192,
    "random_output_len": 1024,
    "random_range_ratio": 1.0,
    "server_info": {"prefill": [{"model_path": "/models/P"}], "decode": [{"model_path": "/models/D"}]},
    "duration": 120.5,
    "completed": 1024,
    "total_input_tokens": 8388608,
    "total_input_text_tokens": 8388609,
    "total_input_vision_tokens": 0,
    "total_output_tokens": 1048576,
    "total_output_tokens_retokenized": 1048000,
    "request_throughput": 8.5,
    "input_throughput": 69615.0,
    "output_throughput": 8702.0,
    "total_throughput": 78317.0,
    "mean_e2e_latency_ms": 50000.1,
    "median_e2e_latency_ms": 49000.5,
    "std_e2e_latency_ms": 1.0,
    "p90_e2e_latency_ms": 58000.9,
    "p95_e2e_latency_ms": 2.0,
    "p99_e2e_latency_ms": 60000.99,
    "mean_ttft_ms": 1111.94,
    "median_ttft_ms": 1000.5,
    "std_ttft_ms": 3.0,
    "p90_ttft_ms": 1900.9,
    "p99_ttft_ms": 2900.99,
    "mean_tpot_ms": 17.06,
    "median_tpot_ms": 17.5,
    "p90_tpot_ms": 18.9,
    "p99_tpot_ms": 19.99,
    "mean_itl_ms": 16.06,
    "median_itl_ms": 16.5,
    "p90_itl_ms": 16.9,
    "p99_itl_ms": 19.72,
    "concurrency": 430.25,
    "accept_length": None,
    "max_output_tokens_per_s": 9000.0,
    "max_concurrent_requests": 520,
}


def result_of(text: str) -> BenchResult:
    (result,) = parse_results(text.encode(), "bench.log").results
    return result


def test_every_number_of_the_text_lands_in_its_column() -> None:
    result = result_of(SGLANG)
    assert {column: getattr(result, column) for column in SGLANG_COLUMNS} == SGLANG_COLUMNS
    assert (result.source, result.line) == ("bench.log", 2)
    # Nothing around it said how many were sent.
    assert (result.requests_total, result.requests_failed, result.model) == (None, None, None)


def test_the_measured_concurrency_is_not_the_allowed_one() -> None:
    assert result_of(SGLANG.replace("Max request concurrency:                 8 ", "")).concurrency is None
    assert result_of(sglang_block(8, 16).replace(" 8  ", " not set")).concurrency is None


def test_the_old_spelling_of_the_label() -> None:
    assert result_of(sglang_block(64, 128).replace("request concurrency", "reqeuest concurrency")).concurrency == 64


def test_failures_are_the_difference_to_what_was_sent() -> None:
    bar = "100%|██████████| 1024/1024 [00:50<00:00, 20.1it/s]\n"
    result = result_of(bar + sglang_block(512, 1001))
    assert (result.requests_total, result.requests_successful, result.requests_failed) == (1024, 1001, 23)


def test_figures_of_the_data_set_are_not_those_of_the_result() -> None:
    before = "#Input tokens: 999\nTotal input tokens: 777\nTotal output tokens: 888\n"
    assert result_of(before + sglang_block(8, 16)).input_tokens is None
    assert result_of(before + SGLANG).input_tokens == 16384


def test_a_rate_that_follows_a_trace_is_unknown() -> None:
    assert result_of(sglang_block(8, 16, rate="trace")).request_rate is None
    assert result_of(sglang_block(8, 16, rate="2.5")).request_rate == 2.5


@pytest.mark.parametrize(
    ("backend", "engine"),
    [
        (None, "sglang"),
        ("sglang-oai-chat", "sglang"),
        ("vllm-chat", "vllm"),
        ("openai", "sglang"),
        ("lmdeploy", "lmdeploy"),
    ],
)
def test_the_engine_is_what_the_client_was_told(backend: str | None, engine: str) -> None:
    assert engine_of(backend, "sglang") == engine


def test_every_number_of_the_result_file_lands_in_its_column() -> None:
    assert is_sglang_record(RECORD)
    result = result_of_record(RECORD, 3, "out.jsonl")
    expected = {
        "line": 3,
        "engine": "sglang",
        "model": "/models/D",
        "concurrency": 512,
        "request_rate": 4.0,
        "input_length": 8192,
        "output_length": 1024,
        "requests_total": None,
        "requests_successful": 1024,
        "input_tokens": 8388608,
        "output_tokens": 1048576,
        "duration_s": 120.5,
        "requests_per_s": 8.5,
        "input_tokens_per_s": 69615.0,
        "output_tokens_per_s": 8702.0,
        "total_tokens_per_s": 78317.0,
        "ttft_mean_ms": 1111.94,
        "ttft_p50_ms": 1000.5,
        "ttft_p90_ms": 1900.9,
        "ttft_p99_ms": 2900.99,
        "tpot_mean_ms": 17.06,
        "tpot_p50_ms": 17.5,
        "tpot_p90_ms": 18.9,
        "tpot_p99_ms": 19.99,
        "itl_mean_ms": 16.06,
        "itl_p50_ms": 16.5,
        "itl_p90_ms": 16.9,
        "itl_p99_ms": 19.72,
        "e2e_mean_ms": 50000.1,
        "e2e_p50_ms": 49000.5,
        "e2e_p90_ms": 58000.9,
        "e2e_p99_ms": 60000.99,
    }
    assert {column: getattr(result, column) for column in expected} == expected


def test_details_of_the_result_file_say_how_many_were_sent() -> None:
    detailed = RECORD | {"completed": 2, "errors": ["", "", "TimeoutError"], "output_lens": [1, 1, 0]}
    result = result_of_record(detailed, 1, "out.jsonl")
    assert (result.requests_total, result.requests_successful, result.requests_failed) == (3, 2, 1)


def test_values_of_the_wrong_kind_are_unknown() -> None:
    strange = RECORD | {"backend": 5, "server_info": [], "dataset_name": None, "completed": "x", "duration": math.nan}
    result = result_of_record(strange, 1, "out.jsonl")
    assert (result.engine, result.model, result.requests_successful) == ("sglang", None, None)
    assert (result.duration_s, result.input_length) == (None, None)


def test_the_model_of_a_single_worker() -> None:
    server = {"model_path": "/models/M", "served_model_name": "m", "decode": []}
    assert result_of_record(RECORD | {"server_info": server}, 1, "x").model == "m"


def test_other_records_are_not_taken() -> None:
    assert not is_sglang_record({"request_throughput": 1.0, "total_token_throughput": 2.0})
    assert not is_sglang_record({"input_throughput": 1.0})
