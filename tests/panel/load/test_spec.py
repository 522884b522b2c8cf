from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.load.lengths import parse_lengths
from pdpanel.panel.load.spec import Arrival, LoadSpec, checked, clean_url

SPEC = LoadSpec(url="http://127.0.0.1:8000")


@pytest.mark.parametrize(("text", "low", "high"), [("1024", 1024, 1024), ("512-1024", 512, 1024), (" 8 - 9 ", 8, 9)])
def test_lengths_are_read(text: str, low: int, high: int) -> None:
    lengths = parse_lengths("input", text)
    assert (lengths.low, lengths.high, lengths.deviation) == (low, high, 0)


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.integers())
def test_normal_lengths_are_at_least_one_token_and_centred(mean: int, deviation: int, seed: int) -> None:
    lengths = parse_lengths("input", f"{mean}~{deviation}")
    drawn = [lengths.draw(Random(seed + number)) for number in range(20)]
    assert all(1 <= one <= 2 * mean for one in drawn)
    assert lengths.middle == mean


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "5-4", "0-4", "1e3", "2000000", "1-2-3", "٣", "1.5"])
def test_other_lengths_are_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^output = "):
        parse_lengths("output", text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://h:1/", "http://h:1"),
        ("http://h:1/v1", "http://h:1"),
        ("http://h:1/v1/chat/completions/", "http://h:1"),
        ("https://h/prefix/v1/completions", "https://h/prefix"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_a_url_is_that_of_the_server(text: str, url: str) -> None:
    assert clean_url("url", text) == url


@pytest.mark.parametrize(
    "text",
    ["", "foo", "ftp://h", "http://", "http://h:0", "http://h:99999", "http://u:p@h", "http://h?x=1", "file:///x"],
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no URL of a server"):
        clean_url("url", text)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"arrival": Arrival.POISSON, "rate": 0}, "rate"),
        ({"arrival": Arrival.POISSON}, "rate"),
        ({"arrival": Arrival.CONSTANT, "rate": float("nan")}, "rate"),
        ({"rate": 2.0}, "rate"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 5000}, "concurrency"),
        ({"requests": 0}, "requests"),
        ({"duration_s": float("inf")}, "duration"),
        ({"duration_s": -1.0}, "duration"),
        ({"timeout_s": 0.0}, "timeout"),
        ({"warmup": -1}, "warmup"),
        ({"temperature": 3.0}, "temperature"),
        ({"input": "0"}, "input"),
        ({"output": "x"}, "output"),
        ({"slo_ttft_ms": 0.0}, "slo-ttft"),
    ],
)
def test_each_field_has_its_bounds(changes: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(replace(SPEC, **changes))  # pyright: ignore[reportArgumentType]
    assert caught.value.field == field


def test_what_is_left_out_is_chosen() -> None:
    assert (checked(SPEC).concurrency, checked(SPEC).requests) == (1, 64)
    assert checked(replace(SPEC, duration_s=5.0)).requests is None
    assert checked(replace(SPEC, duration_s=5.0, arrival=Arrival.BURST)).requests == 64
