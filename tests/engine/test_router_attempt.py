"""Failures of either half: tried again before the first byte, told by an event after it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from pdpanel.engine.router.config import PolicyName, Role

from .router_stub import (
    ANSWER,
    Call,
    Cluster,
    cluster,
    decode_script,
    events_of,
    eventually,
    hang,
    prefill_script,
    refuse,
    run,
    token,
    until,
)


async def _die(call: Call) -> web.StreamResponse:
    return call.die()


async def _die_after_first(call: Call) -> web.StreamResponse:
    if call.body["stream"]:
        await call.response.prepare(call.request)
    return call.die()


async def _say_500(call: Call) -> web.StreamResponse:
    return refuse(500)


async def _say_503(call: Call) -> web.StreamResponse:
    return refuse(503)


async def _say_429(call: Call) -> web.StreamResponse:
    return refuse(429)


async def _event_502(call: Call) -> web.StreamResponse:
    if not call.body["stream"]:
        return refuse(502)
    await call.error(502)
    return call.response


@pytest.mark.parametrize("bad", [_die, _die_after_first, _say_500, _say_503, _say_429, _event_502])
@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
@pytest.mark.parametrize("stream", [True, False])
def test_a_half_that_fails_before_the_first_byte_is_retried_with_a_new_room(bad: Any, role: Role, stream: bool) -> None:
    """Whoever fails first, the other half is closed and told, and the pair is tried again."""
    tries = others = 0

    async def once(call: Call) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        await until(lambda: others >= tries)
        good = prefill_script if role is Role.PREFILL else decode_script
        return await (bad if tries == 1 else good)(call)

    async def other(call: Call) -> web.StreamResponse:
        nonlocal others
        others += 1
        good = decode_script if role is Role.PREFILL else prefill_script
        return await (hang if others == 1 else good)(call)

    scripts: Any = (
        {"prefill": [once], "decode": [other]} if role is Role.PREFILL else {"prefill": [other], "decode": [once]}
    )

    async def test() -> None:
        async with cluster(**scripts) as c, c.generate(stream=stream) as response:
            assert response.status == 200
            if stream:
                assert await events_of(response) == ANSWER
            for stub in c.stubs:
                rooms = [call.body["bootstrap_room"] for call in stub.calls]
                assert len(set(rooms)) == 2
                assert len({call.headers["x-pdpanel-attempt"] for call in stub.calls}) == 2
                assert len({call.headers["x-request-id"] for call in stub.calls}) == 1
            waiting = c.decode if role is Role.PREFILL else c.prefill
            await until(lambda: waiting.calls[0].cancelled)
            assert {"rid": waiting.calls[0].body["rid"]} in waiting.aborts

    run(test)


def test_a_retry_goes_to_the_other_worker() -> None:
    async def test() -> None:
        async with cluster(decode=[_die, decode_script], decode_policy=PolicyName.ROUND_ROBIN) as c:
            for _ in range(4):
                async with c.generate(stream=False) as response:
                    assert (await response.json())["text"] == "abc"
            bad, good = c.of(Role.DECODE)
            assert len(good.calls) == 4 and len(bad.calls) >= 1

    run(test)


def test_a_worker_that_refuses_the_connection_is_retried_elsewhere_and_becomes_unhealthy() -> None:
    async def test() -> None:
        async with cluster(decode=[decode_script, decode_script], decode_policy=PolicyName.ROUND_ROBIN) as c:
            gone = c.of(Role.DECODE)[0]
            await gone.stop()
            for _ in range(2):
                async with c.generate(stream=False) as response:
                    assert (await response.json())["text"] == "abc"
            await _until_state(c, gone.url, False)
            await gone.start()
            await _until_state(c, gone.url, True)

    run(test)


async def _until_state(c: Cluster, url: str, healthy: bool) -> None:
    async def is_so() -> bool:
        return next(w for w in await c.workers() if w["url"] == url)["is_healthy"] is healthy

    await eventually(is_so)


@pytest.mark.parametrize("stream", [True, False])
def test_the_last_failure_is_relayed_when_retries_are_used_up(stream: bool) -> None:
    async def full(call: Call) -> web.StreamResponse:
        return refuse(503, "queue full", Retry_After="7")

    async def test() -> None:
        async with cluster(decode=[full], prefill=[hang]) as c, c.generate(stream=stream) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "7")
            assert (await response.json())["error"]["message"] == "queue full"
            assert len(c.decode.calls) == 4
            status, text = await c.get("/metrics")
            assert status == 200
            assert 'pdpanel_router_retries_total{role="decode"} 3.0' in text
            assert 'pdpanel_router_requests_total{outcome="worker_error",route="/generate"} 1.0' in text

    run(test)


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_is_relayed_as_it_is_and_not_retried(role: Role, stream: bool) -> None:
    async def no(call: Call) -> web.StreamResponse:
        return refuse(400, "temperature = 9: out of range; use 0 to 2.")

    scripts: Any = {"prefill": [no], "decode": [hang]} if role is Role.PREFILL else {"prefill": [hang], "decode": [no]}

    async def test() -> None:
        async with cluster(**scripts) as c, c.generate(stream=stream) as response:
            assert (response.status, response.content_type) == (400, "application/json")
            assert (await response.json())["error"]["message"].startswith("temperature = 9")
            assert all(len(stub.calls) == 1 for stub in c.stubs)
            await until(lambda: any(stub.calls[0].cancelled for stub in c.stubs))

    run(test)


def test_an_abort_by_the_worker_is_not_retried() -> None:
    async def aborted(call: Call) -> web.StreamResponse:
        await call.error(499, "aborted")
        return call.response

    async def test() -> None:
        async with cluster(prefill=[hang], decode=[aborted]) as c, c.generate() as response:
            assert response.status == 499
            assert (await response.json())["error"]["message"] == "aborted"
            assert len(c.decode.calls) == 1

    run(test)


async def _die_mid_stream(call: Call) -> web.StreamResponse:
    await call.event(1, token(1))
    await call.event(2, token(2))
    return call.die()


async def _error_mid_stream(call: Call) -> web.StreamResponse:
    await call.event(1, token(1))
    await call.event(2, token(2))
    await call.error(500, "the model broke")
    return call.response


@pytest.mark.parametrize(("bad", "code"), [(_die_mid_stream, 502), (_error_mid_stream, 500)])
def test_a_failure_mid_stream_is_told_by_an_error_event(bad: Any, code: int) -> None:
    async def test() -> None:
        async with cluster(decode=[bad]) as c, c.generate() as response:
            events = await events_of(response)
            assert events[:2] == [token(1), token(2)]
            assert events[-1] == "[DONE]"
            assert events[2]["error"]["code"] == code and events[2]["error"]["message"]
            assert len(events) == 4
            assert len(c.decode.calls) == 1

    run(test)


def test_prefill_may_die_after_its_token_when_decode_has_all_it_needs() -> None:
    dead = asyncio.Event()

    async def token_then_death(call: Call) -> web.StreamResponse:
        await call.event(1, token(1))
        call.die()
        dead.set()
        return call.response

    async def after_death(call: Call) -> web.StreamResponse:
        await dead.wait()
        return await decode_script(call)

    async def test() -> None:
        async with cluster(prefill=[token_then_death], decode=[after_death]) as c, c.generate() as response:
            assert await events_of(response) == ANSWER

    run(test)


def test_an_error_of_prefill_after_its_token_ends_the_stream() -> None:
    async def token_then_error(call: Call) -> web.StreamResponse:
        await call.event(1, token(1))
        await call.error(502, "the transfer failed")
        return call.response

    async def test() -> None:
        async with cluster(prefill=[token_then_error], decode=[hang]) as c, c.generate() as response:
            events = await events_of(response)
            assert events[0] == token(1)
            assert events[1]["error"]["message"] == "the transfer failed"
            assert events[2:] == ["[DONE]"]
            await until(lambda: c.decode.calls[0].cancelled)

    run(test)


def test_unified_workers_are_retried_too() -> None:
    tries = 0

    async def once(call: Call) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        assert "bootstrap_room" not in call.body and call.numbered
        return await (_die if tries == 1 else decode_script)(call)

    async def test() -> None:
        async with cluster(unified=[once]) as c:
            async with c.generate() as response:
                assert await events_of(response) == ANSWER
            async with c.generate(stream=False) as response:
                assert await response.json() == {"text": "abc", "room": None}

    run(test)
