"""Streams that broke after they had begun: another pair goes on behind the last token, or the client is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from pdpanel.engine.router.config import Role

from .router_stub import (
    FAST_HEALTH,
    FAST_RETRY,
    Call,
    Cluster,
    Stub,
    cluster,
    events_of,
    eventually,
    hang,
    refuse,
    run,
    until,
)

TOKENS = [11, 12, 13, 14, 15, 16]
WATCHFUL = replace(FAST_HEALTH, interval=5.0, busy_interval=0.01, busy_timeout=0.5)


def text_event(number: int, *, last: bool = False) -> dict[str, Any]:
    """The event of /generate with the first `number` tokens."""
    reason = {"type": "length"} if last else None
    return {"output_ids": TOKENS[:number], "meta_info": {"finish_reason": reason, "completion_tokens": number}}


WHOLE = [text_event(number, last=number == len(TOKENS)) for number in range(1, len(TOKENS) + 1)] + ["[DONE]"]


async def tell(call: Call, stop: int) -> None:
    """Sends the events behind what the call says was sent already, up to number `stop`."""
    for number in range(len(call.body.get("replayed_ids", [])) + 1, stop + 1):
        await call.event(number, text_event(number, last=number == len(TOKENS)), TOKENS[number - 1])


async def prefill(call: Call) -> web.StreamResponse:
    await tell(call, len(call.body.get("replayed_ids", [])) + 1)
    return await call.done()


async def decode(call: Call) -> web.StreamResponse:
    await tell(call, len(TOKENS))
    return await call.done()


def dies_after(number: int, *, times: int = 1, how: str = "die") -> Any:
    """A decode worker that breaks `times` requests after event `number` of each, and serves the others."""
    left = times

    async def script(call: Call) -> web.StreamResponse:
        nonlocal left
        if left == 0:
            return await decode(call)
        left -= 1
        await tell(call, number)
        if how == "error":
            await call.error(500, "the model broke")
            return call.response
        if how == "draining":
            await call.error(503, "The worker is shutting down.")
            return call.response
        return call.die()

    return script


def streams(c: Cluster, **more: Any) -> Any:
    return c.generate(sampling_params={"temperature": 0}, **more)


@pytest.mark.parametrize("number", range(1, len(TOKENS)))
@pytest.mark.parametrize("how", ["die", "error", "draining"])
def test_another_pair_goes_on_behind_the_last_token(number: int, how: str) -> None:
    async def test() -> None:
        script = dies_after(number, how=how)
        async with cluster(prefill=[prefill], decode=[script, script]) as c, streams(c) as response:
            assert await events_of(response) == WHOLE
            first, second = c.prefill.calls
            assert "replayed_ids" not in first.body
            assert second.body["replayed_ids"] == TOKENS[:number]
            assert first.body["bootstrap_room"] != second.body["bootstrap_room"]
            assert first.body["rid"] == second.body["rid"]
            said = [call.body.get("replayed_ids") for stub in c.of(Role.DECODE) for call in stub.calls]
            assert sorted(said, key=str) == sorted([None, TOKENS[:number]], key=str)
            text = (await c.get("/metrics"))[1]
            assert 'pdpanel_router_replays_total{outcome="begun"} 1.0' in text
            assert 'pdpanel_router_replays_total{outcome="completed"} 1.0' in text

    run(test)


def test_a_stream_may_break_as_often_as_there_are_tries() -> None:
    async def again(call: Call) -> web.StreamResponse:
        told = len(call.body.get("replayed_ids", []))
        await tell(call, told + 1)
        return await call.done() if told + 1 == len(TOKENS) else call.die()

    async def test() -> None:
        retry = replace(FAST_RETRY, max_retries=len(TOKENS) - 1)
        async with cluster(prefill=[prefill], decode=[again], retry=retry) as c, streams(c) as response:
            assert await events_of(response) == WHOLE
            assert len(c.decode.calls) == len(TOKENS)

    run(test)


def test_prefills_token_is_enough_to_go_on_behind() -> None:
    """Decode refuses while the client has prefill's token already."""
    tries = 0

    async def full(call: Call) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        if tries > 1:
            return await decode(call)
        await until(lambda: told.is_set())
        return refuse(503)

    told = asyncio.Event()

    async def first(call: Call) -> web.StreamResponse:
        if "replayed_ids" in call.body:
            return await prefill(call)
        await tell(call, 1)
        return await hang(call)

    async def test() -> None:
        async with cluster(prefill=[first], decode=[full]) as c, streams(c) as response:
            lines = response.content
            line = await lines.readline()
            assert b"[11]" in line.replace(b" ", b"")
            told.set()
            await lines.readline()
            assert await events_of(response) == WHOLE[1:]
            assert c.prefill.calls[1].body["replayed_ids"] == TOKENS[:1]
            await until(lambda: c.prefill.calls[0].cancelled)

    run(test)


@pytest.mark.parametrize(
    ("body", "settings"),
    [
        ({"sampling_params": {"temperature": 0}}, {"retry": replace(FAST_RETRY, replay=False)}),
        ({"sampling_params": {"temperature": 0}}, {"retry": replace(FAST_RETRY, max_retries=0)}),
        ({"sampling_params": {"temperature": 0}, "return_logprob": True}, {}),
        ({"sampling_params": {"n": 2, "temperature": 0}}, {}),
        ({"text": ["a", "b"]}, {}),
    ],
)
def test_what_cannot_go_on_ends_with_one_error_event(body: dict[str, Any], settings: dict[str, Any]) -> None:
    async def test() -> None:
        async with cluster(prefill=[prefill], decode=[dies_after(3)], **settings) as c:
            async with c.generate(**body) as response:
                events = await events_of(response)
            assert events[:3] == WHOLE[:3]
            assert events[3]["error"]["code"] == 502 and events[4:] == ["[DONE]"]
            assert len(c.decode.calls) == 1

    run(test)


def test_a_worker_that_tells_no_ids_is_not_continued() -> None:
    async def silent(call: Call) -> web.StreamResponse:
        for number in (1, 2, 3):
            await call.event(number, text_event(number))
        return call.die()

    async def test() -> None:
        async with cluster(prefill=[hang], decode=[silent]) as c, streams(c) as response:
            events = await events_of(response)
            assert events[:3] == WHOLE[:3] and events[3]["error"]["code"] == 502 and events[4:] == ["[DONE]"]

    run(test)


def test_a_stream_whose_end_was_told_only_lacks_its_last_line() -> None:
    async def test() -> None:
        script = dies_after(len(TOKENS))
        async with cluster(prefill=[prefill], decode=[script]) as c, streams(c) as response:
            assert await events_of(response) == WHOLE
            assert len(c.decode.calls) == 1

    run(test)


def test_a_usage_event_that_is_missing_is_fetched() -> None:
    """The bundled workers tell the last token's id with the usage, so that it is made again for it."""

    def chunk(choices: list[Any], usage: Any = None) -> dict[str, Any]:
        return {"choices": choices, "usage": usage}

    first = chunk([{"text": "a", "finish_reason": None}])
    end = chunk([{"text": "", "finish_reason": "stop"}])
    usage = chunk([], {"completion_tokens": 2})
    tries = 0

    async def script(call: Call) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        if tries == 1:
            await call.event(1, first, 7)
        await call.event(3, end)
        if tries == 1:
            return call.die()
        await call.event(4, usage, 8)
        return await call.done()

    async def test() -> None:
        async with cluster(prefill=[hang], decode=[script]) as c:
            more = {"temperature": 0, "stream_options": {"include_usage": True}}
            async with c.generate(route="/v1/completions", **more) as response:
                assert await events_of(response) == [first, end, usage, "[DONE]"]
            assert c.decode.calls[1].body["replayed_ids"] == [7]

    run(test)


@pytest.mark.parametrize(
    ("route", "body", "path"),
    [
        ("/generate", {}, ("sampling_params", "sampling_seed")),
        ("/generate", {"sampling_params": {"temperature": 0.7}}, ("sampling_params", "sampling_seed")),
        ("/v1/completions", {"prompt": "a"}, ("seed",)),
        ("/v1/chat/completions", {"messages": [], "seed": None}, ("seed",)),
    ],
)
def test_a_sampled_stream_gets_a_seed_that_stays(route: str, body: dict[str, Any], path: tuple[str, ...]) -> None:
    def seed(call: Call) -> object:
        found: Any = call.body
        for name in path:
            found = found[name]
        return found

    async def test() -> None:
        async with cluster(prefill=[prefill], decode=[dies_after(2)]) as c:
            async with c.generate(route=route, **body) as response:
                assert await events_of(response) == WHOLE
            seeds = {seed(call) for stub in c.stubs for call in stub.calls}
            assert len(seeds) == 1 and isinstance(seeds.pop(), int)
            async with c.generate(route=route, stream=False, **body) as response:
                await response.read()
            assert path[-1] not in c.decode.calls[-1].body.get("sampling_params", {})
            assert c.decode.calls[-1].body.get("seed") is None

    run(test)


def test_other_engines_get_no_seed() -> None:
    async def test() -> None:
        async with cluster(ready=False) as c:
            c.decode.bundled = False

            async def is_known() -> bool:
                async with c.generate() as response:
                    await response.read()
                return c.decode.calls != [] and "sampling_params" not in c.decode.calls[-1].body

            await eventually(is_known)

    run(test)


def test_a_client_may_not_say_what_it_has() -> None:
    async def test() -> None:
        async with cluster() as c, c.generate(replayed_ids=[1]) as response:
            assert response.status == 400
            assert (await response.json())["error"]["message"].startswith("replayed_ids = [1]: ")
            assert not c.prefill.calls

    run(test)


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
def test_a_stopped_worker_is_noticed_and_its_stream_goes_on_elsewhere(role: Role) -> None:
    """It keeps its connections and says nothing: what SIGSTOP does. The first that is asked stops, no other does."""
    stopped: list[Stub] = []
    held: list[Call] = []

    async def stops(call: Call) -> web.StreamResponse:
        if stopped:
            return await (prefill if role is Role.PREFILL else decode)(call)
        stopped.append(next(stub for stub in made[0].of(role) if call in stub.calls))
        await tell(call, 1 if role is Role.PREFILL else 3)
        stopped[0].stopped = True
        return await hang(call)

    async def waits(call: Call) -> web.StreamResponse:
        held.append(call)
        return await hang(call) if len(held) == 1 else await decode(call)

    made: list[Cluster] = []

    async def test() -> None:
        scripts: Any = {"prefill": [prefill], "decode": [stops, stops]}
        if role is Role.PREFILL:
            scripts = {"prefill": [stops, stops], "decode": [waits]}
        async with cluster(**scripts, health=WATCHFUL, retry=replace(FAST_RETRY, max_retries=20)) as c:
            made.append(c)
            async with streams(c) as response:
                assert await events_of(response) == WHOLE
            await until(lambda: stopped[0].calls[0].cancelled)

            async def is_given_up() -> bool:
                return {w["url"]: w["state"] for w in await c.workers()}[stopped[0].url] == "unhealthy"

            await eventually(is_given_up)
            stopped[0].stopped = False

    run(test)


def test_two_halves_that_fail_at_once_are_one_failure() -> None:
    arrived: list[Call] = []

    async def both(call: Call) -> web.StreamResponse:
        arrived.append(call)
        if len(arrived) <= 2:
            await until(lambda: len(arrived) >= 2)
            return call.die()
        return await (prefill if call.request.url.port == port else decode)(call)

    port = 0

    async def test() -> None:
        nonlocal port
        async with cluster(prefill=[both], decode=[both]) as c:
            port = int(c.prefill.url.rpartition(":")[2])
            async with streams(c) as response:
                assert await events_of(response) == WHOLE
            assert [len(stub.calls) for stub in c.stubs] == [2, 2]

    run(test)


def test_a_worker_that_blames_its_peer_brings_another_pair() -> None:
    """Decode says that prefill is lost: neither of them is tried again while there are others."""

    async def lost(call: Call) -> web.StreamResponse:
        await tell(call, 2)
        await call.error(502, "The prefill worker is lost.")
        return call.response

    async def test() -> None:
        async with cluster(prefill=[prefill, prefill], decode=[lost, lost]) as c:
            for stub in c.of(Role.DECODE):
                stub.script = decode
            c.decode.script = lost
            while not c.decode.calls:
                async with streams(c) as response:
                    assert await events_of(response) == WHOLE
            room = c.decode.calls[0].body["bootstrap_room"]
            broken = next(stub for stub in c.of(Role.PREFILL) if _served(stub.calls, room))
            again = next(
                stub
                for stub in c.of(Role.PREFILL)
                if any(call.body.get("replayed_ids") == TOKENS[:2] for call in stub.calls)
            )
            assert again is not broken
            failures = {w["url"]: w["failures"] for w in await c.workers()}
            assert set(failures.values()) == {0}

    run(test)


def _served(calls: list[Call], room: int) -> bool:
    return any(call.body["bootstrap_room"] == room for call in calls)


def test_all_tries_share_one_deadline() -> None:
    async def test() -> None:
        script = dies_after(2, times=2)
        async with cluster(prefill=[prefill], decode=[script], request_timeout=60.0) as c:
            async with streams(c) as response:
                assert await events_of(response) == WHOLE
            left = [int(call.headers["x-pdpanel-deadline-ms"]) for call in c.decode.calls]
            assert 60_000 >= left[0] > left[1] > left[2] > 0

    run(test)


def test_unified_workers_are_continued_too() -> None:
    async def test() -> None:
        async with cluster(unified=[dies_after(4)]) as c, streams(c) as response:
            assert await events_of(response) == WHOLE
            assert c.of(Role.UNIFIED)[0].calls[1].body["replayed_ids"] == TOKENS[:4]

    run(test)
