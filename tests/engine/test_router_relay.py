"""One request over a pair: the order of events, failures before and after the first byte, and clients that leave."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
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
    lines_of,
    prefill_script,
    refuse,
    run,
    token,
    until,
)

ROUTES = ["/generate", "/v1/completions", "/v1/chat/completions"]


@pytest.mark.parametrize("route", ROUTES)
def test_a_stream_is_prefills_first_token_and_decodes_rest(route: str) -> None:
    async def test() -> None:
        async with cluster() as c, c.generate(route=route, unknown={"kept": 1}) as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
            assert await events_of(response) == ANSWER
            sent, received = c.prefill.calls[0], c.decode.calls[0]
            assert sent.body == received.body
            assert sent.body["unknown"] == {"kept": 1}
            assert (sent.body["bootstrap_host"], sent.body["bootstrap_port"]) == ("127.0.0.1", 8998)
            assert 0 < sent.body["bootstrap_room"] < 2**63
            for name in ("x-request-id", "x-pdpanel-attempt"):
                assert sent.headers[name] == received.headers[name] != ""
            assert response.headers["x-request-id"] == sent.headers["x-request-id"] == sent.body["rid"]

    run(test)


@pytest.mark.parametrize("route", ROUTES)
def test_a_whole_answer_is_decodes(route: str) -> None:
    async def test() -> None:
        async with cluster() as c, c.generate(route=route, stream=False) as response:
            assert (response.status, response.content_type) == (200, "application/json")
            answer = await response.json()
            assert answer == {"text": "abc", "room": c.prefill.calls[0].body["bootstrap_room"]}

    run(test)


def test_the_first_token_is_relayed_before_decode_answers_anything() -> None:
    may_answer = asyncio.Event()

    async def patient(call: Call) -> web.StreamResponse:
        await may_answer.wait()
        return await decode_script(call)

    async def test() -> None:
        async with cluster(decode=[patient]) as c, c.generate() as response:
            lines = lines_of(response)
            assert json.loads((await anext(lines))[6:]) == token(1)
            assert not c.decode.calls[0].response.prepared
            may_answer.set()
            rest = [line async for line in lines]
            assert len(rest) == len(ANSWER) - 1 and rest[-1] == b"data: [DONE]"

    run(test)


def test_decodes_end_ends_the_stream_though_prefill_goes_on() -> None:
    async def slow(call: Call) -> web.StreamResponse:
        await call.event(1, token(1))
        return await hang(call)

    async def test() -> None:
        async with cluster(prefill=[slow]) as c, c.generate() as response:
            assert await events_of(response) == ANSWER
            assert not c.prefill.calls[0].ended

    run(test)


def test_the_clients_bootstrap_fields_are_overwritten_and_its_rid_is_kept() -> None:
    async def test() -> None:
        async with cluster() as c:
            more = {"bootstrap_room": 7, "bootstrap_host": "2.2.2.2", "rid": "mine"}
            async with c.generate(stream=False, **more) as response:
                assert response.headers["x-request-id"] == "mine"
            async with c.generate(stream=False, headers={"x-request-id": "given"}) as response:
                assert response.headers["x-request-id"] == "given"
            first, second = c.decode.calls
            assert first.body["bootstrap_host"] == "127.0.0.1" and first.body["bootstrap_room"] != 7
            assert (first.body["rid"], second.body["rid"], second.headers["x-request-id"]) == ("mine", "given", "given")

    run(test)


def test_workers_that_number_nothing_are_read_from_decode_alone() -> None:
    """A batch goes out without the attempt header, and so do the answers of other engines come back."""

    async def test() -> None:
        async with cluster() as c, c.generate(route="/v1/completions", prompt=["a", "b"]) as response:
            assert await events_of(response) == ANSWER
            assert not c.decode.calls[0].numbered
            assert len(c.decode.calls[0].body["bootstrap_room"]) == 2

    run(test)


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
    async def token_then_death(call: Call) -> web.StreamResponse:
        await call.event(1, token(1))
        return call.die()

    async def after_death(call: Call) -> web.StreamResponse:
        await until(lambda: dead())
        return await decode_script(call)

    def dead() -> bool:
        return False

    async def test() -> None:
        nonlocal dead
        async with cluster(prefill=[token_then_death], decode=[after_death]) as c:
            dead = lambda: bool(c.prefill.calls) and c.prefill.calls[0].ended  # noqa: E731
            async with c.generate() as response:
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


@pytest.mark.parametrize("after_first_token", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_closes_both_halves(after_first_token: bool, stream: bool) -> None:
    async def first(call: Call) -> web.StreamResponse:
        if stream and after_first_token:
            await call.event(1, token(1))
        return await hang(call)

    async def test() -> None:
        async with cluster(prefill=[first], decode=[hang]) as c:

            async def client() -> None:
                async with c.generate(stream=stream) as response:
                    await response.read()

            task = asyncio.create_task(client())
            await until(lambda: all(stub.calls for stub in c.stubs))
            task.cancel()
            await until(lambda: all(stub.calls[0].cancelled for stub in c.stubs))

            async def is_idle() -> bool:
                return all(worker["load"] == 0 for worker in await c.workers())

            await eventually(is_idle)
            assert all(len(stub.calls) == 1 for stub in c.stubs)

    run(test)


def test_a_request_that_takes_too_long_gets_504_and_frees_both_halves() -> None:
    async def test() -> None:
        async with cluster(prefill=[hang], decode=[hang], request_timeout=0.05) as c:
            async with c.generate() as response:
                assert response.status == 504
                assert "--request-timeout-secs" in (await response.json())["error"]["message"]
            await until(lambda: all(stub.calls[0].cancelled for stub in c.stubs))

    run(test)


def test_a_stream_that_takes_too_long_ends_with_an_error_event() -> None:
    async def first(call: Call) -> web.StreamResponse:
        await call.event(1, token(1))
        return await hang(call)

    async def test() -> None:
        async with cluster(prefill=[first], decode=[hang], request_timeout=0.2) as c, c.generate() as response:
            events = await events_of(response)
            assert [events[0], events[1]["error"]["code"], events[2]] == [token(1), 504, "[DONE]"]

    run(test)


def test_64_streams_run_at_once() -> None:
    arrived = 0

    async def together(call: Call) -> web.StreamResponse:
        nonlocal arrived
        arrived += 1
        await until(lambda: arrived == 64)
        return await decode_script(call)

    async def test() -> None:
        async with cluster(decode=[together]) as c:

            async def client() -> list[Any]:
                async with c.generate() as response:
                    return await events_of(response)

            answers = await asyncio.gather(*(client() for _ in range(64)))
            assert answers == [ANSWER] * 64
            assert len({call.body["bootstrap_room"] for call in c.decode.calls}) == 64

    run(test)


def test_unified_workers_are_retried_too() -> None:
    tries = 0

    async def once(call: Call) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        assert "bootstrap_room" not in call.body and not call.numbered
        return await (_die if tries == 1 else decode_script)(call)

    async def test() -> None:
        async with cluster(unified=[once]) as c:
            async with c.generate() as response:
                assert await events_of(response) == ANSWER
            async with c.generate(stream=False) as response:
                assert await response.json() == {"text": "abc", "room": None}

    run(test)


def test_the_openai_client_reads_a_chat_through_the_router() -> None:
    def chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}

    async def first(call: Call) -> web.StreamResponse:
        await call.event(0, chunk({"role": "assistant", "content": ""}))
        await call.event(1, chunk({"content": "Hel"}))
        return await call.done()

    async def rest(call: Call) -> web.StreamResponse:
        await call.event(0, chunk({"role": "assistant", "content": ""}))
        await call.event(1, chunk({"content": "Hel"}))
        await call.event(2, chunk({"content": "lo"}))
        if call.body.get("max_tokens") == 2:
            await call.error(500, "the model broke")
            return call.response
        await call.event(3, chunk({}, "stop"))
        return await call.done()

    async def test() -> None:
        async with cluster(prefill=[first], decode=[rest]) as c:
            async with openai.AsyncOpenAI(base_url=c.url + "/v1", api_key="none", max_retries=0) as client:
                messages: Any = [{"role": "user", "content": "Hi"}]
                stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
                chunks = [part async for part in stream]
                assert "".join(part.choices[0].delta.content or "" for part in chunks) == "Hello"
                assert [part.choices[0].delta.role for part in chunks] == ["assistant", None, None, None]
                stream = await client.chat.completions.create(model="m", messages=messages, stream=True, max_tokens=2)
                with pytest.raises(openai.APIError, match="the model broke"):
                    _ = [part async for part in stream]

    run(test)
