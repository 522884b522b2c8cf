from __future__ import annotations

from pdpanel.panel.results.log_reader import LogReader
from pdpanel.panel.results.observed import Observed, Unfinished

from .excerpts import ENDING, HEADING, SGLANG, TRANSFER_ERROR, VLLM, sglang_block


def read(text: str, file_name: str = "a.log") -> Observed:
    reader = LogReader("a.log", file_name)
    for number, line in enumerate(text.splitlines(), 1):
        reader.read(number, line.rstrip())
    return reader.finish()


def test_several_runs_of_two_engines_in_one_log() -> None:
    found = read(SGLANG + "noise\n" + VLLM + SGLANG)
    assert [result.engine for result in found.results] == ["sglang", "vllm", "sglang"]
    assert [result.line for result in found.results] == [2, 46, 85]
    assert found.unfinished == ()
    assert found.lines == (SGLANG + "noise\n" + VLLM + SGLANG).count("\n")


def test_log_lines_between_the_numbers_change_nothing() -> None:
    alone = read(SGLANG).results[0]
    lines = SGLANG.splitlines()
    noisy = [text for line in lines for text in (line, "[2026-01-01 00:00:00 TP0] Decode batch. #running-req: 3")]
    (result,) = read("\n".join(noisy)).results
    assert result.complete
    assert (result.ttft_p99_ms, result.concurrency, result.e2e_mean_ms) == (
        alone.ttft_p99_ms,
        alone.concurrency,
        alone.e2e_mean_ms,
    )


def test_a_log_that_is_cut_gives_what_is_there() -> None:
    (result,) = read(SGLANG[: SGLANG.index("Median TTFT")]).results
    assert not result.complete
    assert (result.ttft_mean_ms, result.ttft_p50_ms, result.requests_successful) == (241.1, None, 16)


def test_a_heading_within_a_block_ends_it() -> None:
    first, second = read(sglang_block(8, 16).replace(ENDING, "") + sglang_block(16, 32)).results
    assert (first.complete, first.concurrency) == (False, 8)
    assert (second.complete, second.concurrency) == (True, 16)


def test_a_heading_without_numbers_is_no_result() -> None:
    found = read(f"{HEADING}\nnothing\n{ENDING}\n")
    assert found.results == ()
    assert found.unfinished == (Unfinished(1, "a run"),)


def test_a_point_without_a_result_is_unfinished() -> None:
    log = f"""\
RUNNING: the benchserving script for iter: 1
RUNNING: prompts isl 1024 osl 512 con 8
ValueError: Warmup failed - Please make sure benchmark arguments are correctly specified. Error: Bad Gateway
RUNNING: prompts isl 1024 osl 512 con 8
{sglang_block(8, 16)}
RUNNING: prompts isl 1024 osl 512 con 16
"""
    found = read(log)
    first, second = found.unfinished
    what = "a run with 8 requests at once, 1024 tokens in and 512 out"
    assert first == Unfinished(2, what, 8, 1024, 512, 1)
    assert (second.line, second.concurrency) == (15, 16)
    (result,) = found.results
    assert first.is_same_point(result) and not second.is_same_point(result)


def test_a_marker_belongs_to_one_result() -> None:
    log = f"RUNNING: prompts isl 1024 osl 512 con 8\n{sglang_block(8, 16)}\n{sglang_block(9, 16)}"
    first, second = read(log).results
    assert (first.dialect, second.dialect) == ("mad", "sglang-bench-serving")
    assert (second.input_length, second.concurrency) == (None, 9)


def test_a_run_that_began_and_gave_nothing_is_unfinished() -> None:
    run = "Namespace(backend='vllm', model='m', max_concurrency=64)\nStarting main benchmark run...\n"
    found = read(run + run + VLLM)
    assert found.unfinished == (Unfinished(2, "a run with 64 requests at once", 64),)
    assert [result.model for result in found.results] == ["m"]
    assert read(run).unfinished == (Unfinished(2, "a run with 64 requests at once", 64),)


def test_arguments_of_an_earlier_run_are_not_those_of_the_next() -> None:
    log = f"Namespace(model='a', max_concurrency=512)\n{sglang_block(8, 16)}\nNamespace(model='b')\n{VLLM}"
    assert [(result.model, result.concurrency) for result in read(log).results] == [("a", 8), ("b", 64)]
    crashed = f"Namespace(model='a', num_prompts=99, dataset_name='random')\nTraceback\nNamespace(model='b')\n{SGLANG}"
    (result,) = read(crashed).results
    assert (result.model, result.requests_total) == ("b", None)


def test_arguments_that_are_printed_twice_keep_the_marker() -> None:
    log = (
        "[RUNNING] prompts 16 isl 1024 osl 512 con 8 model M xP=1 yD=1\n"
        "benchmark_args=Namespace(model=None)\nNamespace(model='/models/M')\nStarting main benchmark run...\n"
    )
    (result,) = read(log + sglang_block(8, 16)).results
    assert (result.dialect, result.model, result.input_length) == ("mad-seed", "M", 1024)


def test_refused_numbers_are_kept_with_their_line() -> None:
    found = read(SGLANG.replace("241.10", "1.241,10"))
    assert [(line.number, line.text) for line in found.refused] == [(26, "mean ttft (ms): 1.241,10")]
    assert found.results[0].ttft_mean_ms is None


def test_a_number_into_which_another_process_wrote_is_refused() -> None:
    found = read(SGLANG.replace("241.10    ", "241.10 INFO done"))
    assert [line.number for line in found.refused] == [26]


def test_transfer_errors_belong_to_the_run_around_them() -> None:
    point = "RUNNING: prompts isl 1024 osl 1024 con {0}\n"
    log = (
        point.format(256)
        + sglang_block(256, 512)
        + point.format(512)
        + TRANSFER_ERROR
        + "\n"
        + sglang_block(512, 1000)
        + point.format(1024)
        + TRANSFER_ERROR
    )
    errors = read(log).transfer_errors
    assert (errors.count, errors.concurrencies) == (2, frozenset({512, 1024}))
    assert [line.number for line in errors.first] == [12, 23]
