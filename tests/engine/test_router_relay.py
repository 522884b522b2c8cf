"""One request over a pair: the order of events, what is passed on, deadlines, and clients that leave."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from aiohttp import web

from .router_stub import (
    ANSWER,
    Call,
    cluster,
    decode_script,
    events_of,
    eventually,
    hang,
    lines_of,
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
