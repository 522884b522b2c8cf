"""A circuit opens on failures within its window, is tried again after its time, and closes on successes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.router.breaker import Breaker, Circuit
from pdpanel.engine.router.config import BreakerConfig, HealthConfig, PolicyName, Role, parse_worker_url
from pdpanel.engine.router.workers import NoWorkerError, WorkerTable

CONFIG = BreakerConfig(failure_threshold=3, success_threshold=2, timeout=10.0, window=5.0)


def opened() -> Breaker:
    breaker = Breaker(CONFIG)
    for _ in range(3):
        breaker.failed(0.0)
    assert breaker.state(0.0) is Circuit.OPEN
    return breaker


def test_failures_open_it_and_time_makes_it_half_open() -> None:
    breaker = opened()
    assert not breaker.passes(9.9) and breaker.closes_in(4.0) == 6.0
    assert breaker.state(10.0) is Circuit.HALF_OPEN
    assert breaker.passes(10.0) and breaker.closes_in(10.0) == 0.0


def test_failures_that_lie_apart_do_not_open_it() -> None:
    breaker = Breaker(CONFIG)
    for now in (0.0, 3.0, 6.0, 9.0):
        breaker.failed(now)
        assert breaker.state(now) is Circuit.CLOSED


def test_a_half_open_one_closes_on_successes_and_opens_on_a_failure() -> None:
    breaker = opened()
    breaker.succeeded(11.0)
    assert breaker.state(11.0) is Circuit.HALF_OPEN
    breaker.succeeded(11.0)
    assert breaker.state(11.0) is Circuit.CLOSED
    again = opened()
    again.succeeded(11.0)
    again.failed(12.0)
    assert again.state(21.9) is Circuit.OPEN and again.state(22.0) is Circuit.HALF_OPEN


def test_a_worker_that_came_back_starts_anew_and_a_disabled_one_never_opens() -> None:
    breaker = opened()
    breaker.reset()
    assert breaker.state(0.0) is Circuit.CLOSED
    disabled = Breaker(BreakerConfig(failure_threshold=1, enabled=False))
    disabled.failed(0.0)
    assert disabled.passes(0.0)


@given(st.lists(st.tuples(st.sampled_from(["failed", "succeeded", "state"]), st.floats(0, 9)), max_size=40))
def test_an_open_circuit_has_enough_failures_behind_it(steps: list[tuple[str, float]]) -> None:
    breaker, now, failures = Breaker(CONFIG), 0.0, 0
    for name, pause in steps:
        now += pause
        failures += name == "failed"
        getattr(breaker, name)(now)
        assert breaker.state(now) is not Circuit.OPEN or failures >= CONFIG.failure_threshold


def test_a_worker_with_an_open_circuit_gets_nothing_until_it_is_tried_again() -> None:
    now = 0.0
    addresses = [parse_worker_url("--url", f"http://h:{port}", Role.DECODE) for port in (1, 2)]
    table = WorkerTable(addresses, HealthConfig(), random.Random(1), breaker=CONFIG, clock=lambda: now)
    first, second = table.workers
    for worker in table.workers:
        table.poll_answered(worker)
    for _ in range(3):
        table.request_failed(first, "it broke")
        table.poll_answered(first)
    assert {table.choose(Role.DECODE, PolicyName.RANDOM).url for _ in range(30)} == {second.url}
    for _ in range(30):
        table.request_failed(second, "it broke")
    assert table.choose(Role.DECODE, PolicyName.RANDOM) is second, "what breaks together is one failure"
    for _ in range(2):
        table.poll_answered(second)
        table.request_failed(second, "it broke")
    with pytest.raises(NoWorkerError, match="failed too often") as caught:
        table.choose(Role.DECODE, PolicyName.RANDOM)
    assert caught.value.retry_after_s == 10.0
    now = 10.0
    assert table.choose(Role.DECODE, PolicyName.RANDOM) is first
