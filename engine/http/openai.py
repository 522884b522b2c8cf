"""POST /v1/completions and POST /v1/chat/completions: OpenAI's routes, with SGLang's additions.

A token without text makes no chunk, and a chunk without choices comes only when
`stream_options.include_usage` asks for it: some clients index the first choice of every chunk. Numbers of
events count tokens, so that both workers of a pair number alike.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from aiohttp import web

from .answer import json_response
from .choices import Choice, Envelope, UsageOptions
from .fields import CHAT, COMPLETIONS, STREAM_OPTIONS
from .generation import Generation, interleave, outcomes
from .intake import Intake, Route, take
from .logprobs import read_chat_logprobs, read_completion_logprobs
from .port import EnginePort
from .prompt import read_chat_prompts, read_completion_prompts
from .sampling import read_openai_sampling
from .sse import StreamEvent, stream_events
from .values import Reader

__all__ = [
    "CHAT_ROUTE",
    "COMPLETIONS_ROUTE",
    "chat_completions",
    "completions",
    "read_stream_options",
    "read_usage_options",
]

COMPLETIONS_ROUTE = Route(
    COMPLETIONS,
    read_completion_prompts,
    partial(read_openai_sampling, chat=False),
    read_completion_logprobs,
    "cmpl-",
)
CHAT_ROUTE = Route(
    CHAT,
    read_chat_prompts,
    partial(read_openai_sampling, chat=True),
    read_chat_logprobs,
    "chatcmpl-",
)


async def completions(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers POST /v1/completions.

    Raises:
        PdpanelError: the request was refused, or failed before its answer began.
    """
    intake = await take(engine, request, COMPLETIONS_ROUTE)
    return await _answer(engine, request, intake, chat=False)


async def chat_completions(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers POST /v1/chat/completions.

    Raises:
        PdpanelError: the request was refused, or failed before its answer began.
    """
    intake = await take(engine, request, CHAT_ROUTE)
    return await _answer(engine, request, intake, chat=True)


def read_usage_options(body: Reader, streaming: bool) -> UsageOptions:
    """Returns what `stream_options` ask for.

    Raises:
        RequestError: a field is unknown or malformed, or the answer is no stream.
    """
    if not body.has("stream_options"):
        return UsageOptions(False, False)
    options = body.object("stream_options")
    STREAM_OPTIONS.check(options, "stream_options")
    if not streaming:
        raise body.refuse("stream_options", "stream is not true", "leave it out or set stream to true")
    return read_stream_options(Reader(options, "stream_options"))


def read_stream_options(options: Reader) -> UsageOptions:
    """Returns what the object `stream_options`, whose fields all exist, asks for.

    Raises:
        RequestError: a field is malformed.
    """
    return UsageOptions(
        at_end=options.boolean("include_usage", False), always=options.boolean("continuous_usage_stats", False)
    )


async def _answer(engine: EnginePort, request: web.Request, intake: Intake, *, chat: bool) -> web.StreamResponse:
    options = read_usage_options(intake.body, intake.streaming)
    envelope = Envelope(intake.requests[0].rid, engine.model.served_name, int(time.time()), chat, options)
    echo = not chat and intake.body.boolean("echo", False)
    choices: list[Choice] = []
    for index, one in enumerate(intake.requests):
        source = intake.prompts.sources[index // intake.copies]
        echoed = ""
        if echo:
            echoed = engine.tokenizer.decode(one.prompt_ids) if source.text is None else source.text
        choices.append(Choice(Generation(engine, one), engine.tokenizer, envelope, index, echoed))
    firsts = choices[:: intake.copies]
    if intake.streaming:
        return await stream_events(request, _events(choices, firsts, envelope), numbered=intake.numbered)
    done = await outcomes([choice.generation for choice in choices])
    bodies = [
        choice.whole(outcome.text, outcome.deltas, outcome.finish)
        for choice, outcome in zip(choices, done, strict=True)
    ]
    return json_response({**envelope.wrap(bodies, chunk=False), "usage": Choice.usage_of(choices, firsts)})


async def _events(
    choices: Sequence[Choice], firsts: Sequence[Choice], envelope: Envelope
) -> AsyncGenerator[Sequence[StreamEvent], None]:
    async with aclosing(interleave([choice.generation for choice in choices])) as groups:
        async for index, deltas in groups:
            events = choices[index].events(deltas)
            if envelope.usage_options.at_end and all(choice.finished for choice in choices):
                usage = {**envelope.wrap([], chunk=True), "usage": Choice.usage_of(choices, firsts)}
                # Of a single choice it is the last event of the last token.
                number = choices[index].completion_tokens + 2
                events.append(StreamEvent(number, usage, choices[index].take_new_ids()))
            yield events
