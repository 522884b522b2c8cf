from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.results.bench_result import BenchResult, Dialect
from pdpanel.panel.results.comparison import LOWEST_LATENCY, MOST_THROUGHPUT, compare


def result(line: int = 1, **columns: Any) -> BenchResult:
    return BenchResult(**({"source": "a", "line": line, "dialect": Dialect.SGLANG_SERVING} | columns))


def best(*results: BenchResult) -> list[tuple[str, ...]]:
    return [row.best for row in compare([results])]


def test_rows_are_sorted_by_concurrency_within_a_file() -> None:
    first = [result(1, source="b", concurrency=64), result(2, source="b", concurrency=None)]
    first += [result(3, source="b", concurrency=8, iteration=2), result(4, source="b", concurrency=8, iteration=1)]
    second = [result(1, source="a", concurrency=1)]
    lines = [(row.result.source, row.result.line) for row in compare([first, second])]
    assert lines == [("b", 4), ("b", 3), ("b", 1), ("b", 2), ("a", 1)]


def test_the_best_throughput_and_the_lowest_latency_are_marked() -> None:
    low = result(1, concurrency=8, output_tokens_per_s=100.0, ttft_mean_ms=20.0, ttft_p99_ms=1.0)
    high = result(2, concurrency=64, output_tokens_per_s=500.0, ttft_mean_ms=90.0, total_tokens_per_s=1.0)
    assert best(low, high) == [(LOWEST_LATENCY,), (MOST_THROUGHPUT,)]


def test_equals_are_both_the_best() -> None:
    assert best(result(1, ttft_mean_ms=5.0), result(2, ttft_mean_ms=5.0), result(3, ttft_mean_ms=6.0)) == [
        (LOWEST_LATENCY,),
        (LOWEST_LATENCY,),
        (),
    ]


def test_one_row_is_not_the_best_of_anything() -> None:
    assert best(result(1, ttft_mean_ms=5.0), result(2)) == [(), ()]


def test_other_lengths_do_not_compete() -> None:
    short = {"input_length": 128, "output_length": 128}
    rows = (result(1, ttft_mean_ms=5.0, **short), result(2, ttft_mean_ms=9.0, input_length=8192, output_length=128))
    assert best(*rows) == [(), ()]


def test_warm_ups_failures_and_one_batch_runs_do_not_compete_with_the_others() -> None:
    for other in (
        {"iteration": 0},
        {"requests_successful": 0},
        {"dialect": Dialect.SGLANG_ONE_BATCH},
    ):
        rows = (result(1, ttft_mean_ms=5.0), result(2, ttft_mean_ms=6.0), result(3, ttft_mean_ms=1.0, **other))
        assert {row.result.line: row.best for row in compare([rows])} == {1: (LOWEST_LATENCY,), 2: (), 3: ()}


@given(
    st.lists(
        st.builds(
            result,
            line=st.integers(1, 99),
            concurrency=st.none() | st.integers(0, 9),
            iteration=st.none() | st.integers(0, 2),
            input_length=st.none() | st.integers(0, 1),
            ttft_mean_ms=st.none() | st.floats(0, 100),
        ),
        max_size=12,
    )
)
def test_no_row_is_lost_and_none_is_better_than_the_best(results: list[BenchResult]) -> None:
    rows = compare([results])
    assert sorted(map(id, results)) == sorted(id(row.result) for row in rows)
    for row in rows:
        if LOWEST_LATENCY in row.best:
            rivals = [
                other.result.ttft_mean_ms
                for other in rows
                if other.result.input_length == row.result.input_length and not other.result.is_warm_up
            ]
            assert row.result.ttft_mean_ms == min(rival for rival in rivals if rival is not None)
