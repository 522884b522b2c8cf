"""From an HTTP request to a `GenerateRequest`: the steps that all generation routes share, in one order.

Fields first, then sampling, then the meeting place, then the prompt, whose encoding costs time. Decides
nothing about the answer's form.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from ..errors import CapacityError, DeadlineError, NotFoundError, RequestError
from ..request import GenerateRequest
from .body import read_object
from .bootstrap import read_bootstrap
from .fields import FieldTable
from .port import EnginePort, ModelCard
from .prompt import Prompt
from .sampling import RequestedSampling
from .values import Reader

__all__ = ["ATTEMPT_HEADER", "DEADLINE_HEADER", "Intake", "require_alive", "take"]

ATTEMPT_HEADER = "x-pdpanel-attempt"
DEADLINE_HEADER = "x-pdpanel-deadline-ms"  # how long the request may still take
_LONGEST_DEADLINE_MS = 10**10
_LONGEST_NAME = 256
# SGLang's clients write "default"; its router writes "unknown" for a request that names no model.
_NO_MODEL_NAMES = frozenset({"", "default", "unknown"})

ReadPrompt = Callable[[EnginePort, Reader], Awaitable[tuple[str, Prompt]]]
ReadSampling = Callable[[Reader, ModelCard], RequestedSampling]


@dataclass(frozen=True, slots=True)
class Intake:
    """A request that was understood.

    Attributes:
        body: for the fields that concern the form of the answer.
        streaming: whether the answer is a stream of events.
        numbered: whether those events carry numbers, for a router that joins two streams.
    """

    generate: GenerateRequest
    body: Reader
    streaming: bool
    numbered: bool


def require_alive(engine: EnginePort) -> None:
    """Checks that the worker computes.

    Raises:
        CapacityError: it is still starting, or its step loop has died.
    """
    if not engine.alive:
        raise CapacityError("The worker is not ready: it is starting, or it has failed; see its log.")


async def take(
    engine: EnginePort,
    request: web.Request,
    fields: FieldTable,
    read_sampling: ReadSampling,
    read_prompt: ReadPrompt,
    rid_prefix: str,
) -> Intake:
    """Returns what `request` asks for.

    Raises:
        RequestError: the body or one of its fields cannot be served as asked.
        CapacityError: the worker does not compute.
        DeadlineError: the request's time was over before it was understood.
    """
    require_alive(engine)
    deadline = _Deadline.of(request)
    body = await read_object(request)
    fields.check(body)
    reader = Reader(body)
    streaming = reader.boolean("stream", False)
    _check_model(reader, engine.model)
    attempt = _attempt(request)
    sampling = read_sampling(reader, engine.model)
    bootstrap = read_bootstrap(reader, engine.config)
    rid = reader.text("rid", "", longest=_LONGEST_NAME)
    if not rid:
        # Both halves of a pair get the same body, so the room gives them the same id.
        rid = rid_prefix + (f"{bootstrap.room:032x}" if bootstrap else uuid.uuid4().hex)
    prompt_field, prompt = await read_prompt(engine, reader)
    params = sampling.fit(len(prompt), engine.model, prompt_field)
    replayed = reader.token_ids("replayed_ids", engine.model.vocab_size)
    if params.max_new_tokens is not None and len(replayed) > params.max_new_tokens:
        problem = f"{len(replayed)} tokens are more than the output may have"
        raise reader.refuse("replayed_ids", problem, f"send at most {params.max_new_tokens}")
    generate = GenerateRequest(rid, prompt, params, bootstrap, attempt, replayed, deadline.left_s())
    return Intake(generate, reader, streaming, numbered=bool(attempt))


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
    if len(attempt) > _LONGEST_NAME:
        remedy = f"send at most {_LONGEST_NAME} characters"
        raise RequestError(ATTEMPT_HEADER, attempt, "too long", remedy)
    return attempt
