"""From an HTTP request to its `GenerateRequest`s: the steps that all generation routes share, in one order.

Fields first, then sampling, then the meeting place, then the prompts, whose encoding costs time. Several prompts, or
`n` answers to one, are as many requests to the engine. Decides nothing about the answer's form.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from aiohttp import web

from ..errors import CapacityError, DeadlineError, NotFoundError, RequestError
from ..request import GenerateRequest
from .body import read_object
from .bootstrap import read_bootstraps
from .fields import FieldTable
from .logprobs import RequestedLogprobs
from .port import EnginePort, ModelCard
from .prompt import Prompts
from .sampling import RequestedSampling
from .values import Reader

__all__ = [
    "ATTEMPT_HEADER",
    "DEADLINE_HEADER",
    "LONGEST_NAME",
    "Intake",
    "Route",
    "read_common",
    "require_alive",
    "take",
]

ATTEMPT_HEADER = "x-pdpanel-attempt"
DEADLINE_HEADER = "x-pdpanel-deadline-ms"  # how long the request may still take
_LONGEST_DEADLINE_MS = 10**10
LONGEST_NAME = 256
# SGLang's clients write "default"; its router writes "unknown" for a request that names no model.
_NO_MODEL_NAMES = frozenset({"", "default", "unknown"})


@dataclass(frozen=True, slots=True)
class Route:
    """What differs between the generation routes.

    Attributes:
        read_sampling: also takes the number of prompts and returns as many.
        read_logprobs: returns None when none are asked for.
        rid_prefix: what made-up request ids begin with.
    """

    fields: FieldTable
    read_prompts: Callable[[EnginePort, Reader], Prompts]
    read_sampling: Callable[[Reader, ModelCard, int], tuple[RequestedSampling, ...]]
    read_logprobs: Callable[[Reader, ModelCard], RequestedLogprobs | None]
    rid_prefix: str = ""


@dataclass(frozen=True, slots=True)
class Intake:
    """A request that was understood.

    Attributes:
        requests: one per answer: those of the first prompt, then those of the second.
        copies: answers per prompt.
        prompts: as they came.
        body: for the fields that concern the form of the answer.
        streaming: whether the answer is a stream of events.
        numbered: whether those events carry numbers, for a router that joins two streams.
    """

    requests: tuple[GenerateRequest, ...]
    copies: int
    prompts: Prompts
    body: Reader
    streaming: bool
    numbered: bool


def require_alive(engine: EnginePort) -> None:
    """Checks that the worker computes.

    Raises:
        CapacityError: it is still starting, or its step loop has died.
    """
    if not engine.alive:
        if engine.dead:
            raise CapacityError(f"The worker has failed: {engine.dead.rstrip('.')}; see its log.")
        raise CapacityError("The worker is not ready: it is starting, about to end, or has failed; see its log.")


async def take(engine: EnginePort, request: web.Request, route: Route) -> Intake:
    """Returns what `request` asks for.

    Raises:
        RequestError: the body or one of its fields cannot be served as asked.
        CapacityError: the worker does not compute, or has no room for all the answers.
        DeadlineError: the request's time was over before it was understood.
    """
    require_alive(engine)
    deadline = _Deadline.of(request)
    body = await read_object(request)
    route.fields.check(body)
    reader = Reader(body)
    streaming = read_common(reader, engine.model)
    attempt = _attempt(request)
    prompts = route.read_prompts(engine, reader)
    samplings = route.read_sampling(reader, engine.model, len(prompts.sources))
    logprobs = route.read_logprobs(reader, engine.model)
    copies = samplings[0].copies
    total = len(prompts.sources) * copies
    if total > 1:
        _check_room(engine, total)
    bootstraps = read_bootstraps(reader, engine.config, len(prompts.sources), copies)
    first = bootstraps[0]
    # Both halves of a pair get the same body, so the room gives them the same id.
    made_up = route.rid_prefix + (f"{first.room:032x}" if first else uuid.uuid4().hex)
    rids = _rids(reader, made_up, total, listed=prompts.listed or total > 1)
    requests: list[GenerateRequest] = []
    for source, sampling in zip(prompts.sources, samplings, strict=True):
        images = await source.images(engine)
        prompt = await source.encode()
        if engine.model.images is not None:
            prompt = engine.model.images.expand(prompt, images, source.field)
        if images:
            _check_scores(reader, logprobs, len(prompt))
        replayed = _replayed(reader, engine.model, single=total == 1)
        for copy in range(copies):
            params = sampling.for_copy(copy).fit(len(prompt), engine.model, source.field)
            if params.max_new_tokens is not None and len(replayed) > params.max_new_tokens:
                problem = f"{len(replayed)} tokens are more than the output may have"
                raise reader.refuse("replayed_ids", problem, f"send at most {params.max_new_tokens}")
            index = len(requests)
            requests.append(
                GenerateRequest(
                    rids[index],
                    prompt,
                    params,
                    bootstraps[index],
                    attempt,
                    replayed_ids=replayed,
                    logprobs=None if logprobs is None else logprobs.fit(len(prompt)),
                    images=images,
                )
            )
    left_s = deadline.left_s()  # what came so far, such as the encoding, took its time
    requests = [replace(one, deadline_s=left_s) for one in requests]
    return Intake(tuple(requests), copies, prompts, reader, streaming, numbered=bool(attempt) and total == 1)


def read_common(body: Reader, model: ModelCard) -> bool:
    """Checks what all routes share; returns whether the answer is to be a stream.

    Raises:
        RequestError: a field is malformed, or names another model.
    """
    streaming = body.boolean("stream", False)
    body.token_ids("replayed_ids", model.vocab_size)
    _check_model(body, model)
    return streaming


def _check_scores(body: Reader, logprobs: RequestedLogprobs | None, prompt_tokens: int) -> None:
    if logprobs is not None and logprobs.fit(prompt_tokens).start < prompt_tokens:
        problem = "the prompt has images, which have no log probabilities"
        raise body.refuse("logprob_start_len", problem, "leave it out or send -1")


def _check_room(engine: EnginePort, total: int) -> None:
    """Refuses a batch as a whole when there is no room for all of it."""
    if total > engine.spare:
        message = f"The request asks for {total} answers where the worker has room for {engine.spare} more;"
        raise CapacityError(f"{message} try again soon or ask for fewer.")


def _rids(body: Reader, made_up: str, total: int, *, listed: bool) -> tuple[str, ...]:
    """Returns the id of each answer's request; one that is given for several names them all, so that an abort does."""
    given = body.raw("rid")
    if isinstance(given, list) and listed:
        if len(given) != total:
            raise body.refuse(
                "rid", f"a list of {len(given)} for {total} answers", "send one string, or one per answer"
            )
        return tuple(Reader({"rid": one}).text("rid", made_up, longest=LONGEST_NAME) or made_up for one in given)
    return (body.text("rid", "", longest=LONGEST_NAME) or made_up,) * total


def _replayed(body: Reader, model: ModelCard, *, single: bool) -> tuple[int, ...]:
    replayed = body.token_ids("replayed_ids", model.vocab_size)
    if replayed and not single:
        raise body.refuse("replayed_ids", "the request asks for several answers", "leave it out")
    return replayed


@dataclass(frozen=True, slots=True)
class _Deadline:
    """When a request's time is over, on time.monotonic(); None for never."""

    at: float | None

    @classmethod
    def of(cls, request: web.Request) -> _Deadline:
        text = request.headers.get(DEADLINE_HEADER)
        if text is None:
            return cls(None)
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(_LONGEST_DEADLINE_MS))):
            remedy = f"send whole milliseconds from 0 to {_LONGEST_DEADLINE_MS}, or leave it out"
            raise RequestError(DEADLINE_HEADER, text, "not a number of milliseconds", remedy)
        return cls(time.monotonic() + int(text) / 1000)

    def left_s(self) -> float | None:
        """Returns the seconds that remain.

        Raises:
            DeadlineError: there are none.
        """
        if self.at is None:
            return None
        left = self.at - time.monotonic()
        if left <= 0:
            raise DeadlineError("The request's time was over before it could start.")
        return left


def _check_model(body: Reader, model: ModelCard) -> None:
    name = body.text("model", "")
    known = name == model.path or name.casefold() == model.served_name.casefold()
    if name not in _NO_MODEL_NAMES and not known:
        remedy = f"set it to {model.served_name!r} or leave it out"
        raise NotFoundError("model", name, "this worker does not serve it", remedy)


def _attempt(request: web.Request) -> str:
    attempt = request.headers.get(ATTEMPT_HEADER, "")
    if len(attempt) > LONGEST_NAME:
        remedy = f"send at most {LONGEST_NAME} characters"
        raise RequestError(ATTEMPT_HEADER, attempt, "too long", remedy)
    return attempt
