from __future__ import annotations

from typing import Any

from pdpanel.panel.results.bench_result import BenchResult, Dialect
from pdpanel.panel.results.comparison import Row, compare
from pdpanel.panel.results.results_text import results_text


def result(line: int, **columns: Any) -> BenchResult:
    return BenchResult(**({"source": "/logs/a.log", "line": line, "dialect": Dialect.MAD} | columns))


def test_without_rows_there_is_no_text() -> None:
    assert results_text([]) == ""


def test_what_rows_share_stands_above_and_what_differs_in_columns() -> None:
    common = {"model": "M", "input_length": 1024, "output_length": 512, "prefill_workers": 1, "decode_workers": 2}
    rows = compare(
        [
            [
                result(1, concurrency=8, requests_total=16, requests_successful=15, ttft_mean_ms=20.0, **common),
                result(2, concurrency=64, requests_successful=128, ttft_mean_ms=90.0, duration_s=1.5, **common),
            ]
        ]
    )
    assert results_text(rows) == (
        "file: a.log\n"
        "written by: mad\n"
        "model: M\n"
        "workers: 1P2D\n"
        "in/out: 1024/512\n"
        "\n"
        "  at once  succeeded  duration s  TTFT ms\n"
        "  8        15/16      -           20.00 *\n"
        "  64       128        1.50        90.00\n"
        "\n"
        "* the best among rows of the same lengths: most output tokens/s, lowest mean TTFT\n"
    )


def test_files_of_the_same_name_are_told_apart() -> None:
    rows = compare([[result(1, source="/x/a.log")], [result(1, source="/y/a.log")], [result(1, source="/y/b.log")]])
    text = results_text(rows)
    assert "/x/a.log" in text and "/y/a.log" in text and "/y/b.log" not in text and "b.log" in text


def test_each_number_stands_under_its_heading() -> None:
    columns = {
        "duration_s": 1.0,
        "requests_per_s": 2.0,
        "input_tokens_per_s": 3.0,
        "output_tokens_per_s": 4.0,
        "total_tokens_per_s": 5.0,
        "ttft_mean_ms": 6.0,
        "ttft_p99_ms": 7.0,
        "tpot_mean_ms": 8.0,
        "tpot_p99_ms": 9.0,
        "itl_mean_ms": 10.0,
        "itl_p99_ms": 11.0,
        "e2e_mean_ms": 12.0,
        "e2e_p99_ms": 13.0,
    }
    heading, numbers = results_text([Row(result(1, **columns))]).splitlines()[-2:]
    assert heading.split("  ")[1:3] == ["duration s", "req/s"]
    assert [float(number) for number in numbers.split()] == [float(number) for number in range(1, 14)]
    order = [heading.index(word) for word in ("req/s", "in tok/s", "out tok/s", "total", "TTFT", "TPOT", "ITL", "E2E")]
    assert order == sorted(order)


def test_a_warm_up_is_named_and_names_are_stripped() -> None:
    text = results_text(
        [Row(result(1, iteration=0, model="\x1b[31mM\n\u202e")), Row(result(2, iteration=1, model="N"))]
    )
    assert "warm-up" in text
    assert "\x1b" not in text and "\u202e" not in text
    assert text.count("\n") == 6
