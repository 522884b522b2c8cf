"""How a saturation is read off a load that goes on."""

from __future__ import annotations

import pytest
from pdpanel.panel.bench.suites.pd_load import SteadyRate
from pdpanel.panel.load.result import Progress


def sample(at_s: float, completed: int, rate: float) -> Progress:
    return Progress(
        at_s=at_s, sent=0, running=4, completed=completed, failed=0, requests_per_s=0.0, input_tokens_per_s=0.0,
        output_tokens_per_s=rate, ttft_p50_s=None, ttft_p99_s=None, itl_p50_s=None, itl_p99_s=None,
    )  # fmt: skip


def test_the_beginning_does_not_count() -> None:
    steady = SteadyRate(skip=4, count=8)
    samples = [(1, 0, 900.0), (4, 4, 500.0), (8, 6, 400.0), (9, 7, 100.0), (12, 10, 110.0), (14, 12, 120.0)]
    assert [steady.take(sample(*one)) for one in samples] == [False] * 5 + [True]
    assert steady.value == pytest.approx(110), "a sample looks back for five seconds"


def test_a_load_that_is_over_at_once_has_its_last_sample() -> None:
    steady = SteadyRate(skip=2, count=2)
    assert steady.take(sample(0.5, 9, 70.0))
    assert steady.value == 70
