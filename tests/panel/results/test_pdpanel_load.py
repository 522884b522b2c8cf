"""What pdpanel itself saved or exported is read back with the numbers that it showed."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pdpanel.panel.load.export import export, plain_numbers
from pdpanel.panel.load.imported import imported_entries
from pdpanel.panel.load.result import LoadResult, columns_of
from pdpanel.panel.load.spec import Arrival, LoadSpec
from pdpanel.panel.load.statistics import Spread
from pdpanel.panel.load.store import load_entry
from pdpanel.panel.results.bench_result import BenchResult, Dialect
from pdpanel.panel.results.parse import parse_results

SPREAD = Spread(0.02, 0.01, 0.03, 0.04, 0.05)
MEASURED = LoadResult(
    model="served/m",
    prompts_from="random tokens",
    started_at=1.0,
    duration_s=4.0,
    sent=9,
    completed=8,
    failed=1,
    cut=0,
    errors=(),
    input_tokens=512,
    output_tokens=128,
    ttft=SPREAD,
    itl=SPREAD,
    tpot=None,
    e2e=SPREAD,
    concurrency_mean=1.9,
    concurrency_max=2,
    good=None,
    lag_p99_s=0.0,
    curves={},
    ended="finished",
)


def saved(**changes: Any) -> dict[str, Any]:
    spec = LoadSpec(url="http://h:1", concurrency=2, requests=9, input="64", output="16-32")
    entry = load_entry("load-20260101-000000-abcd", spec, MEASURED, [], labels={"run": "r", "mode": "2P1D"})
    return {**entry, **changes}


def read(text: str) -> list[BenchResult]:
    return list(parse_results(text.encode(), "a.json").results)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_saved_result_is_read_back(indent: int | None) -> None:
    (result,) = read(json.dumps(saved(), indent=indent))
    assert result.dialect is Dialect.PDPANEL_LOAD
    assert (result.model, result.prefill_workers, result.decode_workers) == ("served/m", 2, 1)
    assert (result.concurrency, result.input_length, result.output_length) == (2, 64, None)
    assert (result.requests_total, result.requests_successful, result.requests_failed) == (9, 8, 1)
    columns = plain_numbers(columns_of(MEASURED))
    for name in ("duration_s", "requests_per_s", "output_tokens_per_s", "ttft_p50_ms", "itl_p99_ms", "e2e_mean_ms"):
        assert getattr(result, name) == pytest.approx(columns[name])
    assert result.tpot_p50_ms is None and result.complete


def test_an_export_holds_several_and_an_evaluation_is_none_of_them() -> None:
    burst = saved(spec={**saved()["spec"], "arrival": Arrival.BURST.value, "concurrency": None}, state="stopped")
    score = saved(kind="accuracy", columns={"exact_match": 0.5})
    first, second = read(export([saved(), burst, score], "json"))
    assert (first.request_rate, second.request_rate, second.concurrency) == (None, math.inf, None)
    assert (first.complete, second.complete) == (True, False)
    assert [entry["name"] for entry in imported_entries(export([saved()], "json").encode(), "e.json", 2.0)] == [
        "pdpanel load: 2P1D, concurrency 2"
    ]


@pytest.mark.parametrize(
    "odd", [{"results": 3}, {"results": []}, {"kind": "load"}, saved(columns=[1]), {"results": [3, None]}]
)
def test_what_only_looks_alike_is_no_result(odd: Any) -> None:
    assert read(json.dumps(odd)) == []


@pytest.mark.parametrize("change", [{"spec": 3}, {"mode": None}, {"model": 7}, {"columns": {"duration_s": "x" * 99}}])
def test_a_damaged_record_loses_what_is_damaged(change: dict[str, Any]) -> None:
    (result,) = read(json.dumps(saved(**change)))
    assert result.dialect is Dialect.PDPANEL_LOAD
