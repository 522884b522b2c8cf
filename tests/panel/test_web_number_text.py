from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.web.number_text import changed_segments, number_text, rounded


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_text_is_json_within_four_digits(value: float) -> None:
    found = json.loads(number_text(value))
    assert found == pytest.approx(value, rel=6e-4, abs=1e-300)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (12.0, "12"),
        (12345678.0, "1.235e7"),
        (0.0000123456, "1.235e-5"),
        (1e10, "1e10"),
        (float("nan"), "null"),
        (float("inf"), "null"),
    ],
)
def test_text_is_short(value: float, text: str) -> None:
    assert number_text(value) == text


def test_only_figures_are_rounded() -> None:
    assert [rounded(value) for value in (12.34567, 612345678, 30001, True, "x", None)] == [
        12.35,
        612300000.0,
        30001,
        True,
        "x",
        None,
    ]


texts = st.lists(st.sampled_from(["1", "2", "null"]), max_size=30)


@given(texts, texts)
def test_segments_turn_one_row_into_the_next(before: list[str], now: list[str]) -> None:
    held = [json.loads(text) for text in before[: len(now)]]
    for first, *values in json.loads(f"[{changed_segments(before[: len(now)], now)}]"):
        held[first : first + len(values)] = values
    assert held == [json.loads(text) for text in now]


def test_what_is_the_same_is_not_sent() -> None:
    before = ["1"] * 100
    now = [*before]
    now[3], now[5], now[90] = "2", "3", "4"
    # One unchanged value between two changes costs less than a segment of its own.
    assert changed_segments(before, now) == "[3,2,1,3],[90,4]"
    assert changed_segments(now, now) == ""
