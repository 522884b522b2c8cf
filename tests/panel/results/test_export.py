from __future__ import annotations

import csv
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.results.bench_result import COLUMNS, BenchResult, Dialect
from pdpanel.panel.results.comparison import Row
from pdpanel.panel.results.export import rows_csv, rows_json


def row(**columns: object) -> Row:
    given_columns: dict[str, object] = {"source": "a.log", "line": 2, "dialect": Dialect.MAD, **columns}
    return Row(BenchResult(**given_columns), ("ttft_mean_ms",))  # pyright: ignore[reportArgumentType]


def cells(*rows: Row) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(rows_csv(rows))))


def test_json_has_every_column_and_is_plain() -> None:
    (answer,) = rows_json([row(request_rate=math.inf, concurrency=8, ttft_mean_ms=5.25)])
    assert list(answer) == [*COLUMNS, "best"]
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert (answer["dialect"], answer["request_rate"], answer["concurrency"]) == ("mad", "inf", 8)
    assert (answer["ttft_mean_ms"], answer["model"], answer["best"]) == (5.25, None, ["ttft_mean_ms"])


def test_csv_has_the_same_columns_and_numbers_are_numbers() -> None:
    (cell,) = cells(row(request_rate=math.inf, concurrency=8, ttft_mean_ms=5.25, model="m"))
    assert list(cell) == [*COLUMNS, "best"]
    assert (cell["concurrency"], cell["ttft_mean_ms"], cell["request_rate"]) == ("8", "5.25", "inf")
    assert (cell["model"], cell["engine"], cell["complete"], cell["best"]) == ("m", "", "true", "ttft_mean_ms")


def test_csv_without_rows_is_a_heading() -> None:
    assert rows_csv([]).strip().split(",") == [*COLUMNS, "best"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1+1", "\t=1+1", "\r\n=1+1", "\x1b[0m=1+1"])
def test_a_name_that_is_a_formula_is_made_harmless(name: str) -> None:
    (cell,) = cells(row(model=name, source=name, engine=name))
    assert cell["model"].startswith("'") and cell["model"][1] in "=+-@"
    assert cell["source"].startswith("'") and cell["engine"].startswith("'")


def test_a_name_that_is_no_formula_stays() -> None:
    (cell,) = cells(row(model="Qwen/Qwen3-32B=a", source='a,"b".log'))
    assert (cell["model"], cell["source"]) == ("Qwen/Qwen3-32B=a", 'a,"b".log')


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_name_is_one_cell_of_one_line(name: str) -> None:
    (cell,) = cells(row(model=name))
    assert None not in cell and cell["complete"] == "true"
    assert not cell["model"].startswith(("=", "+", "-", "@", "\t", "\r"))
