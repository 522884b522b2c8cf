"""A worker that stops is noticed within the time that the settings promise, and a slow one is not given up.

The clock is simulated: it stands still while anything runs and jumps to the next timer when nothing does.
"""

from __future__ import annotations

import asyncio
import math
import random
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pdpanel.engine.router.config import HealthConfig, Role, parse_worker_url
from pdpanel.engine.router.failure import Answer, unreachable
from pdpanel.engine.router.health import HealthWatch
from pdpanel.engine.router.lifeline import Lifelines
from pdpanel.engine.router.silence import Silence
from pdpanel.engine.router.workers import Health, Worker, WorkerTable

DEFAULTS = HealthConfig()
WELL = Answer(200, b'{"status": "ok"}')


class _Jumping(selectors.SelectSelector):
    """Jumps over the time in which a loop would sleep."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is not None:
            self.now += timeout
        return ready


def simulated(test: Callable[[], Awaitable[None]]) -> None:
    """Runs `test` on a simulated clock."""
    selector = _Jumping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.wait_for(test(), 1000.0))


class Asked:
    """The connection to one worker, which answers after `delay_s` until it stands still at `stops_at`."""

    def __init__(self, delay_s: Callable[[], float], stops_at: float = math.inf) -> None:
        self.delay_s = delay_s
        self.stops_at = stops_at

    def authorization(self, clients_own: str) -> dict[str, str]:
        return {}

    async def ask(self, worker: Worker, method: str, path: str, *, limit_s: float, headers: Any) -> Answer:
        now = asyncio.get_running_loop().time
        delay = self.delay_s()
        if now() + delay < self.stops_at and delay < limit_s:
            await asyncio.sleep(delay)
            return WELL
        await asyncio.sleep(limit_s)
        raise unreachable(worker, "timeout", began=False)


async def watched(asked: Asked) -> tuple[Worker, HealthWatch]:
    table = WorkerTable([parse_worker_url("--url", "http://h:1", Role.DECODE)], DEFAULTS, random.Random(1))
    watch: Any = HealthWatch(table, DEFAULTS, asked, Lifelines())  # type: ignore[arg-type]
    watch.start()
    return table.workers[0], watch


async def given_up_at(worker: Worker) -> float:
    while worker.health is not Health.UNHEALTHY:  # noqa: ASYNC110 (the clock is simulated)
        await asyncio.sleep(0.001)
    return asyncio.get_running_loop().time()


def test_the_defaults_promise_to_notice_a_stop_in_time() -> None:
    assert DEFAULTS.stop_noticed_s <= 2.2
    assert DEFAULTS.longest_silence >= 2 * DEFAULTS.busy_timeout


@settings(deadline=None, max_examples=25)
@given(st.floats(0.0, 3.0), st.floats(0.0, 1.0), st.floats(0.0, 0.05), st.booleans())
@example(0.2599, 0.0, 0.0, True)
def test_a_stop_is_noticed_as_promised(stops_at: float, busy_after: float, delay: float, streams: bool) -> None:
    """However it lies to the polls, and whatever was heard of the worker just before."""

    async def test() -> None:
        now, stop = asyncio.get_running_loop().time, 5.0 + stops_at
        worker, watch = await watched(Asked(lambda: delay, stop))
        await asyncio.sleep(4.0 if busy_after < 0.5 else stop + busy_after)
        busy_at = now()
        worker.active = 1
        while streams and now() < stop:
            worker.heard_at = now()
            await asyncio.sleep(0.01)
        seen = await given_up_at(worker) - max(stop, busy_at)
        assert seen <= DEFAULTS.stop_noticed_s + delay + 0.01
        assert seen >= DEFAULTS.longest_silence - DEFAULTS.busy_timeout
        await watch.stop()

    simulated(test)


@settings(deadline=None, max_examples=15)
@given(st.floats(0.9, 1.7), st.integers(0, 3))
def test_a_worker_that_is_slow_for_one_poll_is_not_given_up(pause: float, poll: int) -> None:
    """It stands still for nearly two polls in a row, and then goes on."""

    async def test() -> None:
        now, begins = asyncio.get_running_loop().time, 5.0 + poll * DEFAULTS.busy_interval
        asked = Asked(lambda: max(0.0, begins + pause - now()) if now() >= begins else 0.0)
        worker, watch = await watched(asked)
        await asyncio.sleep(4.0)
        worker.active = 1
        while now() < 10.0:
            await asyncio.sleep(0.01)
            assert worker.health is not Health.UNHEALTHY
        assert worker.is_healthy
        await watch.stop()

    simulated(test)


def test_what_a_worker_owed_before_it_got_requests_is_not_held_against_it() -> None:
    async def test() -> None:
        now = asyncio.get_running_loop().time
        asked = Asked(lambda: max(0.0, 8.0 - now()) if now() >= 4.9 else 0.0)
        worker, watch = await watched(asked)
        await asyncio.sleep(7.0)
        worker.active = 1
        while now() < 10.0:
            await asyncio.sleep(0.01)
            assert worker.health is not Health.UNHEALTHY
        await watch.stop()

    simulated(test)


def test_a_worker_that_streams_but_answers_no_poll_is_not_given_up() -> None:
    async def test() -> None:
        now = asyncio.get_running_loop().time
        worker, watch = await watched(Asked(lambda: 0.0, stops_at=5.0))
        await asyncio.sleep(4.0)
        worker.active = 1
        while now() < 20.0:
            worker.heard_at = now()
            await asyncio.sleep(0.5)
            assert worker.health is not Health.UNHEALTHY
        await watch.stop()

    simulated(test)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=20))
def test_silence_counts_from_the_last_word_behind_the_first_question(heard: list[float]) -> None:
    silence = Silence(DEFAULTS)
    silence.heard(9.0)
    assert silence.left(9.0) == DEFAULTS.longest_silence
    silence.asked(1.0)
    silence.asked(2.0)
    for at in heard:
        silence.heard(at)
    assert silence.left(max(1.0, *heard)) == pytest.approx(DEFAULTS.longest_silence)
    assert silence.left(max(1.0, *heard) + DEFAULTS.longest_silence + 0.001) == 0
    silence.end()
    assert silence.left(100.0) == DEFAULTS.longest_silence
