from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.telemetry.mooncake_log import last_stats, parse_stats

HEAD = "I1121 05:05:38.071234 4242 transfer_engine_impl.cpp:512] [Metrics] Transfer Engine Stats (over last 5s): "
RATE = "Throughput: 1234.56 MB/s"
LATENCY = "Latency Distribution (count=1000): 0-10μs:10.0%, 10-20μs:40.0%, 200-500μs:49.0%, >10000000μs:1.0%"


def test_both_parts() -> None:
    stats = parse_stats(f"{HEAD}{RATE} | {LATENCY}")
    assert stats is not None and stats.latency is not None
    assert stats.bytes_per_s == pytest.approx(1234.56e6)
    assert stats.span_s == 5
    assert stats.latency.quantile(0.5) == pytest.approx(20e-6)
    assert stats.latency.quantile(0.745) == pytest.approx(350e-6)
    assert stats.latency.quantile(0.999) == pytest.approx(10.0)


def test_each_part_alone() -> None:
    rate, latency = parse_stats(HEAD + RATE), parse_stats(HEAD + LATENCY)
    assert rate is not None and rate.latency is None and rate.bytes_per_s is not None
    assert latency is not None and latency.bytes_per_s is None and latency.latency is not None


def test_gigabytes_and_the_newest_of_several_lines() -> None:
    lines = [HEAD + RATE, "something else", HEAD + "Throughput: 21.00 GB/s"]
    found = last_stats(lines)
    assert found is not None and found.bytes_per_s == pytest.approx(21e9)


@pytest.mark.parametrize("line", ["", "no metrics", "Transfer Engine Stats", "Transfer Engine Stats (over last xs): "])
def test_other_lines_are_none(line: str) -> None:
    assert parse_stats(line) is None


@given(st.text(max_size=300))
def test_whatever_follows_is_read_or_left_alone(text: str) -> None:
    stats = parse_stats(HEAD + text)
    assert stats is not None and stats.span_s == 5
    if stats.latency is not None:
        assert list(stats.latency.bounds) == sorted(set(stats.latency.bounds))
