from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.results.number import RefusedNumberError, is_unknown, read_count, read_number, value_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0.0),
        ("18.82", 18.82),
        (" 18.82   ", 18.82),
        ("1,234", 1234.0),
        ("1,234,567.25", 1234567.25),
        ("1e-05", 1e-05),
        ("2.5E+3", 2500.0),
        ("inf", math.inf),
        ("Infinity", math.inf),
        ("1e999", math.inf),
    ],
)
def test_a_number_is_read(text: str, number: float) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize("text", ["nan", "NaN", "n/a", "not set", "None", "trace", "-", "", "-1", "-1.5"])
def test_an_unknown_number_is_none(text: str) -> None:
    assert read_number(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "1.234,56",
        "12,5",
        "1.234.567",
        "1'234",
        "1 234",
        "12,34,567",
        "1,2345",
        "٣٤",
        "१२",
        "0x10",
        "1_000",
        "12ms",
        "=1",
    ],
)
def test_a_number_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(RefusedNumberError):
        read_number(text)


def test_a_count_is_whole() -> None:
    assert read_count("71.00") == 71
    assert read_count("1,024") == 1024
    assert read_count("inf") is None
    for text in ("7.5", "1e30"):
        with pytest.raises(RefusedNumberError):
            read_count(text)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0),
        (2.5, 2.5),
        ("inf", math.inf),
        (True, None),
        (None, None),
        (-1, None),
        (math.nan, None),
        (10**400, None),
        ([1], None),
        ("1.234,5", None),
    ],
)
def test_a_json_value_is_a_number_or_none(value: object, number: float | None) -> None:
    assert value_number(value) == number


@given(st.floats(0, 1e15))
def test_what_python_prints_with_two_places_is_read(number: float) -> None:
    assert read_number(f"{number:.2f}") == float(f"{number:.2f}")
    assert read_number(f"{number:,.2f}") == float(f"{number:.2f}")


@given(st.text(max_size=40))
def test_any_text_is_a_number_unknown_or_refused(text: str) -> None:
    try:
        number = read_number(text)
    except RefusedNumberError:
        assert not is_unknown(text)
    else:
        assert number is None or number >= 0
