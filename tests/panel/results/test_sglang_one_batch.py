"""The lines and the keys are those of sglang 0.5.23 (`sglang/benchmark/one_batch_server.py`), read in its wheel."""

from __future__ import annotations

from typing import Any

from pdpanel.panel.results.parse import parse_results
from pdpanel.panel.results.sglang_one_batch import is_batch_record, result_of_record, warm_up_mark

from .excerpts import ONE_BATCH, SGLANG

RECORD: dict[str, Any] = {
    "run_name": "default",
    "batch_size": 16,
    "input_len": 1024,
    "output_len": 128,
    "latency": 2.5123,
    "input_throughput": 20480.25,
    "output_throughput": 1180.75,
    "overall_throughput": 7333.5,
    "last_ttft": 0.8,
    "last_gen_throughput": -1,
    "acc_length": -1,
    "total_output_tokens": 2048,
    "num_early_stopped": None,
    "cache_hit_rate": None,
}


def test_the_lines_are_one_result_and_the_warm_up_is_none() -> None:
    (result,) = parse_results(ONE_BATCH.encode(), "b.log").results
    expected = {
        "line": 13,
        "dialect": "sglang-bench-one-batch-server",
        "engine": "sglang",
        "concurrency": 16,
        "requests_total": 16,
        "requests_successful": None,
        "input_length": 1024,
        "output_length": 128,
        "duration_s": 2.51,
        "input_tokens_per_s": 20480.25,
        "output_tokens_per_s": 1180.75,
        "total_tokens_per_s": None,
        "ttft_mean_ms": None,
        "complete": True,
    }
    assert {column: getattr(result, column) for column in expected} == expected


def test_several_batches_in_one_log() -> None:
    batch = ONE_BATCH.split("\n\n")[1]
    log = batch + "\n" + batch.replace("batch size: 16", "batch size: 32")
    assert [result.concurrency for result in parse_results(log.encode(), "b.log").results] == [16, 32]


def test_a_cut_batch_is_incomplete_and_one_without_a_latency_is_none() -> None:
    lines = ONE_BATCH.split("\n\n")[1].splitlines()
    (result,) = parse_results("\n".join(lines[:4]).encode(), "b.log").results
    assert (result.complete, result.duration_s) == (False, 2.51)
    assert parse_results("\n".join(lines[:3]).encode(), "b.log").results == ()


def test_lines_with_another_unit_are_not_taken() -> None:
    text = "batch size: 16\ninput_len: 8\nlatency: 2.51 ms\nlatency: 251\ninput throughput: 5 s\n"
    assert parse_results(text.encode(), "b.log").results == ()


def test_another_program_s_batch_size_hides_nothing() -> None:
    text = "batch size: 4\n100%|##| 20/20 [00:01<00:00]\n" + SGLANG
    (result,) = parse_results(text.encode(), "b.log").results
    assert (result.dialect, result.requests_total) == ("sglang-bench-serving", 20)


def test_the_result_file() -> None:
    assert is_batch_record(RECORD)
    assert not is_batch_record({"batch_size": 1, "input_len": 2, "latency": 3})
    result = result_of_record(RECORD, 4, "r.jsonl")
    assert (result.duration_s, result.total_tokens_per_s, result.output_tokens) == (2.5123, 7333.5, 2048)
    assert (result.concurrency, result.requests_total, result.input_length, result.output_length) == (16, 16, 1024, 128)


def test_warm_up_marks() -> None:
    assert warm_up_mark("======== Warmup Begin ========") is True
    assert warm_up_mark("======== Warmup End   ========") is False
    assert warm_up_mark("Warmup Begin") is None
