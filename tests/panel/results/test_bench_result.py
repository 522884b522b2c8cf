from __future__ import annotations

from dataclasses import fields

from pdpanel.panel.results.bench_result import COLUMNS, COUNTS, LATENCIES, BenchResult, Dialect


def test_every_latency_has_four_statistics_in_milliseconds() -> None:
    expected = {f"{name}_{statistic}_ms" for name in LATENCIES for statistic in ("mean", "p50", "p90", "p99")}
    assert {column for column in COLUMNS if column.endswith("_ms")} == expected


def test_what_is_not_given_is_unknown() -> None:
    result = BenchResult(source="a.log", line=3, dialect=Dialect.MAD)
    given = {"source", "line", "dialect", "complete"}
    assert all(getattr(result, field.name) is None for field in fields(result) if field.name not in given)
    assert set(COLUMNS) >= COUNTS


def test_iteration_0_is_a_warm_up() -> None:
    assert BenchResult(source="a", line=1, dialect=Dialect.MAD, iteration=0).is_warm_up
    assert not BenchResult(source="a", line=1, dialect=Dialect.MAD, iteration=1).is_warm_up
    assert not BenchResult(source="a", line=1, dialect=Dialect.MAD).is_warm_up
