"""POST /v1/completions and POST /v1/chat/completions: OpenAI's routes, with SGLang's additions.

A token without text makes no chunk, and a chunk without choices comes only when
`stream_options.include_usage` asks for it: some clients index the first choice of every chunk. Numbers of
events count tokens, so that both workers of a pair number alike.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from ..request import Finish
from .answer import json_response
from .fields import CHAT, COMPLETIONS, STREAM_OPTIONS
from .generation import Generation
from .intake import Intake, take
from .port import EnginePort
from .prompt import read_chat_prompt, read_completion_prompt
from .sampling import read_openai_sampling
from .sse import StreamEvent, stream_events
from .values import Reader

__all__ = ["chat_completions", "completions"]


async def completions(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers POST /v1/completions.

    Raises:
        PdpanelError: the request was refused, or failed before its answer began.
    """
    read_sampling = partial(read_openai_sampling, chat=False)
    intake = await take(engine, request, COMPLETIONS, read_sampling, read_completion_prompt, "cmpl-")
    return await _answer(engine, request, intake, chat=False)


async def chat_completions(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers POST /v1/chat/completions.

    Raises:
        PdpanelError: the request was refused, or failed before its answer began.
    """
    read_sampling = partial(read_openai_sampling, chat=True)
    intake = await take(engine, request, CHAT, read_sampling, read_chat_prompt, "chatcmpl-")
    return await _answer(engine, request, intake, chat=True)


@dataclass(frozen=True, slots=True)
class _UsageOptions:
    """When a stream tells the usage: in a chunk of its own at the end, in every chunk, or both."""

    at_end: bool
    always: bool


def _usage_options(body: Reader, streaming: bool) -> _UsageOptions:
    if not body.has("stream_options"):
        return _UsageOptions(False, False)
    options = body.object("stream_options")
    STREAM_OPTIONS.check(options, "stream_options")
    if not streaming:
        raise body.refuse("stream_options", "stream is not true", "leave it out or set stream to true")
    reader = Reader(options, "stream_options")
    return _UsageOptions(
        at_end=reader.boolean("include_usage", False), always=reader.boolean("continuous_usage_stats", False)
    )


async def _answer(engine: EnginePort, request: web.Request, intake: Intake, *, chat: bool) -> web.StreamResponse:
    options = _usage_options(intake.body, intake.streaming)
    generation = Generation(engine, intake.generate)
    envelope = _Envelope(generation, engine.model.served_name, int(time.time()), chat)
    if intake.streaming:
        return await stream_events(request, _events(generation, envelope, options), numbered=intake.numbered)
    outcome = await generation.outcome()
    return json_response(envelope.whole(outcome.text, len(outcome.token_ids), outcome.finish))


async def _events(
    generation: Generation, envelope: _Envelope, options: _UsageOptions
) -> AsyncGenerator[Sequence[StreamEvent], None]:
    events: list[StreamEvent] = []
    new_ids: list[int] = []  # since the last event

    def add(number: int, choices: list[dict[str, Any]], tokens: int, *, with_usage: bool, last: bool = True) -> None:
        chunk = envelope.chunk(choices)
        if with_usage:
            chunk["usage"] = envelope.usage(tokens)
        elif options.at_end:
            chunk["usage"] = None
        ids: tuple[int, ...] = ()
        if last:  # a token that makes several events is told with the last: who has it has them all
            ids = tuple(new_ids)
            new_ids.clear()
        events.append(StreamEvent(number, chunk, ids))

    async with aclosing(generation.deltas()) as groups:
        first = envelope.opening()
        async for group in groups:
            events = []
            if first is not None:
                add(0, [first], 0, with_usage=options.always)
                first = None
            for delta in group:
                tokens = delta.completion_tokens
                new_ids += [] if delta.token_id is None else [delta.token_id]
                if delta.text:
                    last = delta.finish is None
                    add(tokens, [envelope.piece(delta.text)], tokens, with_usage=options.always, last=last)
                if delta.finish is not None:
                    last = not options.at_end
                    closing = [envelope.closing(delta.finish)]
                    add(tokens + 1, closing, tokens, with_usage=options.always, last=last)
                    if options.at_end:
                        add(tokens + 2, [], tokens, with_usage=True)
            yield events


@dataclass(frozen=True, slots=True)
class _Envelope:
    """The objects of one answer."""

    generation: Generation
    model: str
    created: int
    chat: bool

    def _outer(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.generation.request.rid,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def usage(self, completion_tokens: int) -> dict[str, Any]:
        prompt_tokens = self.generation.prompt_tokens
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.generation.cached_tokens},
        }

    def whole(self, text: str, completion_tokens: int, finish: Finish) -> dict[str, Any]:
        content = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        choice = {"index": 0, **content, "logprobs": None, **_reason(finish)}
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._outer(kind, [choice]), "usage": self.usage(completion_tokens)}

    def chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._outer("chat.completion.chunk" if self.chat else "text_completion", choices)

    def opening(self) -> dict[str, Any] | None:
        """The choice that names the role; completions have none."""
        return self._choice({"role": "assistant", "content": ""}, "") if self.chat else None

    def piece(self, text: str) -> dict[str, Any]:
        return self._choice({"content": text}, text)

    def closing(self, finish: Finish) -> dict[str, Any]:
        return {**self._choice({}, ""), **_reason(finish)}

    def _choice(self, delta: dict[str, Any], text: str) -> dict[str, Any]:
        content: dict[str, Any] = {"delta": delta} if self.chat else {"text": text}
        return {"index": 0, **content, "logprobs": None, "finish_reason": None}


def _reason(finish: Finish) -> dict[str, Any]:
    matched = finish.matched if finish.kind.value == "stop" else None
    return {"finish_reason": finish.kind.value, "matched_stop": matched}
