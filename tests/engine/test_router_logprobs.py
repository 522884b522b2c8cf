"""The prompt's logprobs, which prefill knows, stand before decode's in whole answers and in streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from pdpanel.engine.router.logprobs import joined_answer

from .router_stub import Call, cluster, events_of, run


def answer(logprobs: list[Any], number: int = 1) -> dict[str, Any]:
    return {"text": "a" * number, "meta_info": {"input_token_logprobs": logprobs}}


PROMPT, OWN = [[-0.5, 7, None]], [[-0.25, 8, None]]


@pytest.mark.parametrize("stream", [True, False])
def test_they_are_joined_when_they_are_asked_for(stream: bool) -> None:
    async def prefill(call: Call) -> web.StreamResponse:
        if not stream:
            return web.json_response(answer(PROMPT))
        await call.event(1, answer(PROMPT), 7)
        return await call.done()

    async def decode(call: Call) -> web.StreamResponse:
        if not stream:
            return web.json_response(answer(OWN))
        await call.event(1, answer([]), 7)
        await call.event(2, answer(OWN, 2), 8)
        return await call.done()

    async def test() -> None:
        async with cluster(prefill=[prefill], decode=[decode]) as c:
            for asked in (True, False):
                async with c.generate(stream=stream, return_logprob=asked) as response:
                    if not stream:
                        assert await response.json() == answer(PROMPT + OWN if asked else OWN)
                        continue
                    events = await events_of(response)
                    assert events[1:] == [answer(PROMPT + OWN if asked else OWN, 2), "[DONE]"]
                    assert events[0] in (answer(PROMPT), answer([]))

    run(test)


@pytest.mark.parametrize(
    ("prefill", "decode", "joined"),
    [
        (answer(PROMPT), answer(OWN), answer(PROMPT + OWN)),
        (answer(PROMPT), answer(PROMPT), answer(PROMPT)),
        ([answer(PROMPT), answer([])], [answer([]), answer(OWN)], [answer(PROMPT), answer(OWN)]),
        ([answer(PROMPT)], [answer(OWN), answer(OWN)], [answer(OWN), answer(OWN)]),
        (answer(PROMPT), {"text": "a"}, {"text": "a"}),
        ("x", answer(OWN), answer(OWN)),
        (answer([]), 3, 3),
    ],
)
def test_whole_answers(prefill: object, decode: object, joined: object) -> None:
    assert json.loads(joined_answer(json.dumps(prefill).encode(), json.dumps(decode).encode())) == joined
    assert joined_answer(b"no json", json.dumps(decode).encode()) == json.dumps(decode).encode()
