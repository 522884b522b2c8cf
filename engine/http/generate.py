"""POST /generate: SGLang's own route.

Every token is an event, with the whole text and all ids so far, as SGLang does by default. Several prompts or `n`
answers make a list, or a stream of events that carry the answer's `index`. `engine.http.fields.GENERATE` lists the
fields that this engine takes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from aiohttp import web

from ..config import Mode
from ..request import Finish, FinishKind
from .answer import json_response
from .fields import GENERATE
from .generation import Delta, Generation, interleave, outcomes
from .intake import Intake, Route, take
from .logprobs import ScoredToken, read_logprobs, sglang_logprobs
from .port import EnginePort
from .prompt import read_generate_prompts
from .sampling import read_sampling
from .sse import StreamEvent, stream_events

__all__ = ["GENERATE_ROUTE", "generate"]

GENERATE_ROUTE = Route(GENERATE, read_generate_prompts, read_sampling, read_logprobs)


async def generate(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers POST /generate.

    Raises:
        PdpanelError: the request was refused, or failed before its answer began.
    """
    intake = await take(engine, request, GENERATE_ROUTE)
    several = intake.prompts.listed or len(intake.requests) > 1
    answers = [_Answer(engine, intake, index, several=several) for index in range(len(intake.requests))]
    if intake.streaming:
        return await stream_events(request, _events(answers), numbered=intake.numbered)
    done = await outcomes([answer.generation for answer in answers])
    for answer, outcome in zip(answers, done, strict=True):
        answer.take(outcome.deltas)
    bodies = [answer.body(outcome.finish) for answer, outcome in zip(answers, done, strict=True)]
    return json_response(bodies if several else bodies[0])


class _Answer:
    """One answer as it grows."""

    def __init__(self, engine: EnginePort, intake: Intake, index: int, *, several: bool) -> None:
        self.generation = Generation(engine, intake.requests[index])
        self._engine = engine
        self._index = index
        self._streamed_in_batch = several and intake.streaming
        rid = intake.requests[index].rid
        is_shared = several and not isinstance(intake.body.raw("rid"), list)
        self._id = f"{rid}_{index}" if is_shared else rid  # as SGLang's
        self._text = self.generation.told_text
        self._ids = list(self.generation.told_ids)
        self._scored: list[ScoredToken] = []
        self._with_text = intake.body.boolean("return_text_in_logprobs", False)

    def take(self, deltas: Sequence[Delta]) -> None:
        """Adds what came."""
        for delta in deltas:
            self._text += delta.text
            if delta.token_id is not None:
                self._ids.append(delta.token_id)
                self._scored.append((delta.token_id, delta.logprobs))

    def event(self, delta: Delta) -> StreamEvent:
        """Returns the event of a delta, which is taken."""
        self.take([delta])
        # A finish that comes by itself follows its last token's event, which has the number already.
        number = delta.completion_tokens + (delta.token_id is None)
        new = () if delta.token_id is None else (delta.token_id,)
        return StreamEvent(number, self.body(delta.finish), new)

    def body(self, finish: Finish | None) -> dict[str, Any]:
        """Returns the JSON object of the answer so far."""
        meta: dict[str, Any] = {
            "id": self._id,
            "finish_reason": _reason(finish, len(self._ids)),
            "prompt_tokens": self.generation.prompt_tokens,
            "completion_tokens": len(self._ids),
            "cached_tokens": self.generation.cached_tokens,
            "weight_version": "default",
            **self._logprobs(),
        }
        if finish is not None:
            meta["e2e_latency"] = self.generation.seconds
        place = {"index": self._index} if self._streamed_in_batch else {}
        return {"text": self._text, "output_ids": list(self._ids), "meta_info": meta, **place}

    def _logprobs(self) -> dict[str, Any]:
        request = self.generation.request
        if request.logprobs is None:
            return {}
        asked = request.prompt_ids[request.logprobs.start :]
        # A decode worker computes no prompt; its router takes these from prefill's answer.
        computes = self._engine.config.disaggregation_mode is not Mode.DECODE
        scores = (None, *self.generation.prompt_scores)
        prompt = list(zip(asked, scores, strict=False)) if computes else []
        tokenizer = self._engine.tokenizer if self._with_text else None
        return sglang_logprobs(tokenizer, request.logprobs, prompt, self._scored)


async def _events(answers: Sequence[_Answer]) -> AsyncGenerator[Sequence[StreamEvent], None]:
    async with aclosing(interleave([answer.generation for answer in answers])) as groups:
        async for index, deltas in groups:
            yield [answers[index].event(delta) for delta in deltas]


def _reason(finish: Finish | None, completion_tokens: int) -> dict[str, Any] | None:
    if finish is None:
        return None
    if finish.kind is FinishKind.LENGTH:
        return {"type": "length", "length": completion_tokens}
    return {"type": finish.kind.value, "matched": finish.matched}
