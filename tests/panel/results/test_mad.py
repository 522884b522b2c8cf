"""The markers are those of ROCm/MAD: `[RUNNING]` of the seed era and of its vLLM scripts, `RUNNING:` of today."""

from __future__ import annotations

import pytest
from pdpanel.panel.results.bench_result import BenchResult, Dialect
from pdpanel.panel.results.mad import (
    PointNote,
    begins_sweep,
    placed,
    read_file_name,
    read_iteration,
    read_marker,
    read_note,
)
from pdpanel.panel.results.parse import parse_results
from pdpanel.panel.results.run import Marker

from .excerpts import VLLM, sglang_block

FILE_NAME = "benchmark_1234_20260101_000000_xP1_yD2_Qwen3-32B_CONCURRENCY.log"

SEED = f"""\
==== Benchmark Serving Concurrency Sweep Test /run_logs/1234/benchmark_1234 =====
Running the benchserving script for iter: 1
[RUNNING] prompts  isl 4096 osl 100 con 32 model Qwen3-32B xP=1 yD=3 job=1234
Generated shared prefix dataset statistics:
Number of groups: 1
Prompts per group: 64
Total prompts: 64
Total input tokens: 262,144
Total output tokens: 6,400
{sglang_block(32, 64, out="111.11")}
[RUNNING] prompts  isl 1024 osl 1024 con 64 model Qwen3-32B xP=1 yD=3 job=1234
Total prompts: 128
{sglang_block(64, 120, out="222.22")}
==== Benchmark Serving Concurrency End Time /run_logs/1234/benchmark_1234 =====
"""

TODAY = f"""\
==== Benchmark Serving Concurrency Sweep Test /run_logs/77/benchmark_77_x =====
Benchmarking iterations: 2
Test run:
{sglang_block(512, 1024, out="999.99")}
RUNNING: the benchserving script for iter: 1
INFO: model=DeepSeek-V3 xP=2 yD=1 job=77 prompts=16
RUNNING: prompts isl 1024 osl 1024 con 8
{sglang_block(8, 16, out="11.11")}
RUNNING: the benchserving script for iter: 2
INFO: model=DeepSeek-V3 xP=2 yD=1 job=77 prompts=16
RUNNING: prompts isl 1024 osl 1024 con 8
{sglang_block(8, 15, out="22.22")}
"""


def test_the_seed_era_s_sweep() -> None:
    first, second = parse_results(SEED.encode(), "/logs/other.log").results
    assert (first.dialect, first.engine, first.model, first.iteration) == ("mad-seed", "sglang", "Qwen3-32B", 1)
    assert (first.prefill_workers, first.decode_workers, first.concurrency) == (1, 3, 32)
    assert (first.input_length, first.output_length, first.input_tokens) == (4096, 100, None)
    assert (first.requests_total, first.requests_failed, first.output_tokens_per_s) == (64, 0, 111.11)
    assert (second.input_length, second.output_length, second.concurrency) == (1024, 1024, 64)
    assert (second.requests_total, second.requests_failed, second.output_tokens_per_s) == (128, 8, 222.22)


def test_today_s_sweep_with_its_warm_up_and_its_iterations() -> None:
    warm_up, first, second = parse_results(TODAY.encode(), "sweep.log").results
    assert (warm_up.iteration, warm_up.dialect, warm_up.concurrency) == (0, "mad", 512)
    assert (first.iteration, first.dialect, first.model) == (1, "mad", "DeepSeek-V3")
    assert (first.prefill_workers, first.decode_workers) == (2, 1)
    assert (first.requests_total, first.requests_failed, first.output_tokens_per_s) == (16, 0, 11.11)
    assert (second.iteration, second.requests_failed, second.output_tokens_per_s) == (2, 1, 22.22)


def test_two_sweeps_in_one_file_have_a_warm_up_each() -> None:
    iterations = [result.iteration for result in parse_results((TODAY + TODAY).encode(), "x").results]
    assert iterations == [0, 1, 2, 0, 1, 2]


def test_a_sweep_with_vllm_s_client() -> None:
    log = f"[RUNNING] prompts 128 isl 1024 osl 128 con 64 (timeout 1800s)\n{VLLM}"
    (result,) = parse_results(log.encode(), FILE_NAME).results
    assert (result.dialect, result.engine, result.model) == ("mad-seed", "vllm", "Qwen3-32B")
    assert (result.prefill_workers, result.decode_workers, result.requests_total) == (1, 2, 1000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUNNING: prompts isl 1024 osl 512 con 8", (False, 8, 1024, 512, None, None)),
        ("RUNNING: prompts 16 isl 1024 osl 512 con 8", (False, 8, 1024, 512, 16, None)),
        ("[RUNNING] prompts  isl 1024 osl 512 con 8 model M xP=1 yD=2", (True, 8, 1024, 512, None, "M")),
        ("[RUNNING] prompts isl 1024 osl 512 con 8", (True, 8, 1024, 512, None, None)),
        ("[RUNNING] isl=1024 osl=512 con=8 warmups=2 prompts=16", (True, 8, 1024, 512, 16, None)),
        ("0: [RUNNING] prompts 16 isl 1024 osl 512 con 8 (timeout 1800s)", (True, 8, 1024, 512, 16, None)),
    ],
)
def test_markers(text: str, expected: tuple[object, ...]) -> None:
    marker = read_marker(9, text, None)
    assert marker is not None and marker.line == 9
    found = (marker.seed, marker.concurrency, marker.input_length, marker.output_length, marker.prompts, marker.model)
    assert found == expected


@pytest.mark.parametrize(
    "text",
    [
        "RUNNING: the benchserving script for iter: 1",
        "RUNNING: prompts isl 1024 osl 512",
        "RUNNING: prompts isl 1024 osl 512 con eight",
        "RUNNING: prompts isl 1024 osl 512 con 8s",
        "prompts isl 1024 osl 512 con 8",
        "NOT_RUNNING: prompts isl 1024 osl 512 con 8",
        "[WARMUP] shape isl 1024 osl 512 con 4 prompts 8",
    ],
)
def test_what_is_no_marker(text: str) -> None:
    assert read_marker(1, text, None) is None


def test_the_line_before_a_marker_says_more_of_it() -> None:
    note = read_note("INFO: model=DeepSeek-V3 xP=2 yD=1 job=77 prompts=16")
    assert note == PointNote("DeepSeek-V3", 2, 1, 16)
    marker = read_marker(2, "RUNNING: prompts isl 8 osl 8 con 8", note)
    assert marker == Marker(2, False, 8, 8, 8, 16, "DeepSeek-V3", 2, 1)
    assert read_note("WARN: bench_serving failed for model=x") is None
    assert read_note("INFO: started with xP=2") is None


def test_iterations_of_both_eras() -> None:
    assert read_iteration("RUNNING: the benchserving script for iter: 2") == 2
    assert read_iteration("Running the benchserving script for iter: 1") == 1
    assert read_iteration("the benchserving script for iter: 1") is None


def test_a_file_s_name() -> None:
    assert read_file_name(FILE_NAME) == PointNote("Qwen3-32B", 1, 2)
    name = "benchmark_1_2_xP16_yD4_amd-Llama-3.3-70B-Instruct-FP8-KV_CONCURRENCY.log"
    assert read_file_name(name) == PointNote("amd-Llama-3.3-70B-Instruct-FP8-KV", 16, 4)
    assert read_file_name("benchmark_CONCURRENCY.log") == PointNote()


def test_where_a_sweep_begins() -> None:
    assert begins_sweep("==== Benchmark Serving Concurrency Sweep Test /x =====")
    assert begins_sweep("Warmup run: 16 prompts @ con=1 isl=32 osl=32")
    assert not begins_sweep("==== Benchmark Serving Concurrency End Time /x =====")


def test_the_marker_s_word_goes_before_the_file_s_name() -> None:
    result = BenchResult(source="x", line=1, dialect=Dialect.SGLANG_SERVING, model="/models/M")
    named = PointNote("N", 1, 2)
    assert placed(result, None, 1, named).model == "N"
    assert placed(result, None, 1, named).iteration is None
    at = placed(result, Marker(1, False, 8, 8, 8, model="K", prefill_workers=3), 1, named)
    assert (at.model, at.prefill_workers, at.decode_workers, at.iteration, at.dialect) == ("K", 3, 2, 1, "mad")
    assert placed(result, None, None, PointNote()).model == "/models/M"
