"""A round in which nobody can be asked is no try: the request waits for a worker, within its limits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from pdpanel.engine.router.config import BreakerConfig, RetryConfig

from .router_stub import (
    ANSWER,
    FAST_RETRY,
    Call,
    Cluster,
    Stub,
    cluster,
    events_of,
    eventually,
    hang,
    run,
    until,
)
from .test_router_replay import WHOLE, decode, prefill

# Long enough for the poll that tells of the loss, which would otherwise cost one of the few tries.
FEW_TRIES = RetryConfig(max_retries=2, initial_backoff_ms=200)


class Mortal:
    """A decode worker that serves its first request up to event `after`, and is gone until it is started again."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.gone: asyncio.Task[None] | None = None
        self.stub: Stub | None = None

    async def script(self, call: Call) -> web.StreamResponse:
        if self.gone is not None:
            return await decode(call)
        for number in range(1, self.after + 1):
            await call.event(number, WHOLE[number - 1], 10 + number)
        assert self.stub is not None
        self.gone = asyncio.create_task(self.stub.stop())
        return call.die()

    async def starts_again(self) -> None:
        assert self.stub is not None and self.gone is not None
        await self.gone
        await self.stub.start()


async def _is(c: Cluster, stub: Stub, state: str) -> None:
    async def is_so() -> bool:
        return next(w for w in await c.workers() if w["url"] == stub.url)["state"] == state

    await eventually(is_so)


async def _waits(c: Cluster) -> None:
    """Waits until every role's try has failed and the request has nobody to ask."""

    async def is_so() -> bool:
        return "pdpanel_router_waiting_requests" in (text := (await c.get("/metrics"))[1]) and (
            "pdpanel_router_waiting_requests 1.0" in text
        )

    await eventually(is_so)


async def _streamed(c: Cluster) -> list[Any]:
    async with c.generate(sampling_params={"temperature": 0}) as response:
        assert response.status == 200
        return await events_of(response)


@pytest.mark.parametrize("after", [0, 3])
def test_a_request_with_few_tries_waits_for_its_only_worker(after: int) -> None:
    async def test() -> None:
        mortal = Mortal(after)
        async with cluster(prefill=[prefill], decode=[mortal.script], retry=FEW_TRIES) as c:
            mortal.stub = c.decode
            request = asyncio.create_task(_streamed(c))
            await _is(c, c.decode, "unhealthy")
            await _waits(c)
            assert len(c.decode.calls) == 1 and not request.done()
            await mortal.starts_again()
            assert await request == WHOLE
            assert len(c.decode.calls) == 2
            text = (await c.get("/metrics"))[1]
            assert 'role="none"' not in text and "pdpanel_router_waiting_requests 0.0" in text

    run(test)


def test_a_new_request_waits_for_a_worker_that_was_lost_a_moment_ago() -> None:
    async def test() -> None:
        async with cluster(retry=replace(FAST_RETRY, max_retries=0)) as c:
            await c.prefill.stop()
            await _is(c, c.prefill, "unhealthy")
            request = asyncio.create_task(_streamed(c))
            await _waits(c)
            assert not c.decode.calls
            await c.prefill.start()
            assert await request == ANSWER

    run(test)


def test_no_more_new_requests_wait_than_the_queue_has_places() -> None:
    async def test() -> None:
        async with cluster(queue_size=1) as c:
            await c.prefill.stop()
            await _is(c, c.prefill, "unhealthy")
            request = asyncio.create_task(_streamed(c))
            await _waits(c)
            async with c.generate() as response:
                assert response.status == 503 and "Retry-After" in response.headers
                assert c.prefill.url in (await response.json())["error"]["message"]
            await c.prefill.start()
            assert await request == ANSWER

    run(test)


@pytest.mark.parametrize("settings", [{"worker_wait": 0.0}, {"worker_wait": 0.02}])
def test_the_wait_has_an_end(settings: dict[str, Any]) -> None:
    async def test() -> None:
        mortal = Mortal(2)
        async with cluster(prefill=[prefill], decode=[mortal.script], retry=FEW_TRIES, **settings) as c:
            mortal.stub = c.decode
            async with c.generate(sampling_params={"temperature": 0}) as response:
                events = await events_of(response)
            assert events[:2] == WHOLE[:2] and events[3:] == ["[DONE]"]
            assert events[2]["error"]["code"] == 503
            await _is(c, c.decode, "unhealthy")
            async with c.generate() as response:
                assert response.status == 503 and "Retry-After" in response.headers

    run(test)


def test_the_wait_ends_with_the_requests_time() -> None:
    async def test() -> None:
        async with cluster(request_timeout=0.1) as c:
            await c.decode.stop()
            await _is(c, c.decode, "unhealthy")
            async with c.generate() as response:
                assert response.status == 504

    run(test)


def test_a_router_that_drains_lets_nobody_wait() -> None:
    async def test() -> None:
        async with cluster(shutdown_grace=20.0) as c:
            await c.decode.stop()
            await _is(c, c.decode, "unhealthy")

            async def status() -> int:
                async with c.generate() as response:
                    return response.status

            request = asyncio.create_task(status())
            await _waits(c)
            c.stop.set()
            async with asyncio.timeout(10):
                assert await request == 503

    run(test)


def test_nobody_waits_for_a_circuit_that_stays_open_longer() -> None:
    async def breaks(call: Call) -> web.StreamResponse:
        return call.die()

    async def test() -> None:
        breaker = BreakerConfig(failure_threshold=1, timeout=60.0)
        async with cluster(prefill=[hang], decode=[breaks], breaker=breaker) as c:
            async with c.generate() as response:
                assert response.status == 503 and 30 < int(response.headers["Retry-After"]) <= 60
            assert len(c.decode.calls) == 1

    run(test)


def test_a_circuit_that_closes_in_time_ends_the_wait() -> None:
    tries = 0

    async def breaks_once(call: Call) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        return call.die() if tries == 1 else await decode(call)

    async def test() -> None:
        breaker = BreakerConfig(failure_threshold=1, timeout=0.1)
        async with cluster(prefill=[prefill], decode=[breaks_once], breaker=breaker) as c:
            assert await _streamed(c) == WHOLE
            assert tries == 2

    run(test)


def test_a_client_that_leaves_waits_no_more() -> None:
    async def test() -> None:
        async with cluster() as c:
            await c.decode.stop()
            await _is(c, c.decode, "unhealthy")
            request = asyncio.create_task(_streamed(c))
            await _waits(c)
            request.cancel()

            async def is_over() -> bool:
                return "pdpanel_router_waiting_requests 0.0" in (await c.get("/metrics"))[1]

            await eventually(is_over)
            await until(lambda: request.done())

    run(test)
