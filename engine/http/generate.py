"""POST /generate: SGLang's own route.

Every token is an event, with the whole text and all ids so far, as SGLang does by default.
`engine.http.fields.GENERATE` lists the fields that this engine takes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from aiohttp import web

from ..request import Finish, FinishKind
from .answer import json_response
from .fields import GENERATE
from .generation import Generation
from .intake import take
from .port import EnginePort
from .prompt import read_generate_prompt
from .sampling import read_sampling
from .sse import StreamEvent, stream_events

__all__ = ["generate"]


async def generate(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers POST /generate.

    Raises:
        PdpanelError: the request was refused, or failed before its answer began.
    """
    intake = await take(engine, request, GENERATE, read_sampling, read_generate_prompt, "")
    generation = Generation(engine, intake.generate)
    if intake.streaming:
        return await stream_events(request, _events(generation), numbered=intake.numbered)
    outcome = await generation.outcome()
    return json_response(_answer(generation, outcome.text, outcome.token_ids, outcome.finish))


async def _events(generation: Generation) -> AsyncGenerator[Sequence[StreamEvent], None]:
    text = generation.told_text
    ids = list(generation.told_ids)
    async with aclosing(generation.deltas()) as groups:
        async for group in groups:
            events: list[StreamEvent] = []
            for delta in group:
                text += delta.text
                number = delta.completion_tokens
                if delta.token_id is None:
                    number += 1  # the last token's event has its number already
                else:
                    ids.append(delta.token_id)
                new = () if delta.token_id is None else (delta.token_id,)
                events.append(StreamEvent(number, _answer(generation, text, ids, delta.finish), new))
            yield events


def _answer(generation: Generation, text: str, ids: Sequence[int], finish: Finish | None) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "id": generation.request.rid,
        "finish_reason": _reason(finish, len(ids)),
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": len(ids),
        "cached_tokens": generation.cached_tokens,
        "weight_version": "default",
    }
    if finish is not None:
        meta["e2e_latency"] = generation.seconds
    return {"text": text, "output_ids": list(ids), "meta_info": meta}


def _reason(finish: Finish | None, completion_tokens: int) -> dict[str, Any] | None:
    if finish is None:
        return None
    if finish.kind is FinishKind.LENGTH:
        return {"type": "length", "length": completion_tokens}
    return {"type": finish.kind.value, "matched": finish.matched}
