from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.results.bench_result import COLUMNS
from pdpanel.panel.results.findings import judge
from pdpanel.panel.results.parse import parse_results

from .excerpts import ENDING, HEADING, ONE_BATCH, SGLANG, SGLANG_COLUMNS, TRANSFER_ERROR, VLLM, VLLM_COLUMNS
from .test_mad import SEED, TODAY
from .test_vllm_serve import RECORD


@pytest.mark.parametrize("text", [SGLANG, VLLM, ONE_BATCH, SEED, TODAY])
def test_windows_line_ends_and_colours_change_nothing(text: str) -> None:
    plain = parse_results(text.encode(), "a.log")
    assert plain.results
    assert parse_results(text.replace("\n", "\r\n").encode(), "a.log").results == plain.results
    coloured = "".join(f"\x1b[32m{line}\x1b[0m\n" for line in text.split("\n"))
    assert parse_results(coloured.encode(), "a.log").results == plain.results


def test_a_progress_bar_that_returns_the_carriage() -> None:
    bar = "".join(f"\r {done}%|##   | {done}/100 [00:0{done // 20}<00:01]" for done in range(100))
    log = f"{bar}\r100%|#####| 100/100 [00:05<00:00]\n{SGLANG}"
    (result,) = parse_results(log.encode(), "a.log").results
    assert (result.requests_total, result.line) == (100, 3)


def test_a_heading_behind_a_progress_bar() -> None:
    log = "\r100%|#####| 1000/1000 [00:05<00:00]" + VLLM
    (result,) = parse_results(log.encode(), "a.log").results
    assert result.requests_total == 1000


@pytest.mark.parametrize("prefix", ["bench-1  | ", "0: ", "2026-01-01T00:00:00.000000000Z "])
def test_lines_behind_a_prefix(prefix: str) -> None:
    for text, columns in ((SGLANG, SGLANG_COLUMNS), (VLLM, VLLM_COLUMNS)):
        log = "".join(f"{prefix}{line}\n" for line in text.split("\n"))
        (result,) = parse_results(log.encode(), "a.log").results
        assert {column: getattr(result, column) for column in columns} == columns


def test_a_byte_order_mark_and_bytes_that_are_no_text() -> None:
    assert len(parse_results(b"\xef\xbb\xbf" + SGLANG.encode(), "a").results) == 1
    assert len(parse_results(b"\xff\xfe\x00\n" + SGLANG.encode() + b"\x80\x81", "a").results) == 1
    assert len(parse_results(b"\xef\xbb\xbf" + json.dumps(RECORD).encode(), "a").results) == 1


def test_a_log_that_begins_with_a_bracket_is_read_as_a_log() -> None:
    log = f"[2026-01-01 00:00:00] hello\n{json.dumps(RECORD)}\n{SGLANG}"
    assert [str(result.dialect) for result in parse_results(log.encode(), "a").results] == ["sglang-bench-serving"]
    assert len(parse_results(SEED[SEED.index("[RUNNING]") :].encode(), "a").results) == 2


def test_a_windows_path_has_a_file_name_too() -> None:
    name = r"C:\logs\benchmark_1_2_xP1_yD2_M_CONCURRENCY.log"
    assert parse_results(SGLANG.encode(), name).results[0].model == "M"


def test_a_file_without_results() -> None:
    for data in (b"", b"\n", b"hello\n", bytes(range(256)), b"{", b'{"a": 1}'):
        found = parse_results(data, "a")
        assert found.results == ()
        assert [finding.id for finding in judge(found)] == ["results-none"]


PIECES = [
    HEADING,
    ENDING,
    "Mean TTFT (ms):  5.00",
    "Successful requests: 16",
    "Backend:   sglang",
    "[RUNNING] prompts isl 1 osl 2 con 3",
    "RUNNING: the benchserving script for iter: 1",
    "INFO: model=m xP=1 yD=1 prompts=4",
    "Namespace(model='m', backend='vllm', num_prompts=3)",
    "Starting main benchmark run...",
    "batch size: 3",
    "input_len: 5",
    "latency: 1.00 s",
    "======== Warmup Begin ========",
    TRANSFER_ERROR,
    json.dumps(RECORD),
    "\x1b[31m",
    "\r",
    "==== Benchmark Serving Concurrency Sweep Test x",
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=30), max_size=25), st.sampled_from(["\n", "", " "]))
def test_pieces_in_any_order_never_raise(pieces: list[str], between: str) -> None:
    found = parse_results(between.join(pieces).encode("utf-8", "replace"), "a")
    judge(found)
    for result in found.results:
        assert 1 <= result.line <= max(found.lines, 1)
        assert all(number is None or number >= 0 for number in (result.ttft_mean_ms, result.requests_failed))


@given(st.binary(max_size=300))
def test_any_bytes_never_raise(data: bytes) -> None:
    assert parse_results(data, "a").results == ()


@given(st.sampled_from([SGLANG, VLLM]), st.integers(0, 2500))
def test_a_log_cut_anywhere_gives_a_part_of_the_whole(text: str, end: int) -> None:
    (whole,) = parse_results(text.encode(), "a").results
    for result in parse_results(text[:end].encode(), "a").results:
        told = {"complete", "dialect", "engine", "requests_total", "requests_failed"}
        cut = text[:end].rsplit("\n", 1)[-1]
        for column in COLUMNS:
            number = getattr(result, column)
            if column not in told and number is not None and not cut:
                assert number == getattr(whole, column)


@given(st.lists(st.floats(0, 1e9), min_size=3, max_size=3), st.integers(0, 10**9))
def test_whatever_is_printed_is_read_back(numbers: list[float], count: int) -> None:
    first, second, third = (f"{number:.2f}" for number in numbers)
    text = (
        f"{HEADING}\n{'Backend:':<40} sglang\n{'Successful requests:':<40} {count:<10}\n"
        f"{'Mean TTFT (ms):':<40} {first:<10}\n{'P99 ITL (ms):':<40} {second:<10}\n"
        f"{'Total token throughput (tok/s):':<40} {third:<10}\n{ENDING}\n"
    )
    (result,) = parse_results(text.encode(), "a").results
    assert result.requests_successful == count
    assert (result.ttft_mean_ms, result.itl_p99_ms, result.total_tokens_per_s) == tuple(
        float(number) for number in (first, second, third)
    )
