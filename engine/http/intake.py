"""From an HTTP request to a `GenerateRequest`: the steps that all generation routes share, in one order.

Fields first, then sampling, then the meeting place, then the prompt, whose encoding costs time. Decides
nothing about the answer's form.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from ..errors import CapacityError, NotFoundError, RequestError
from ..request import GenerateRequest
from .body import read_object
from .bootstrap import read_bootstrap
from .fields import FieldTable
from .port import EnginePort, ModelCard
from .prompt import Prompt
from .sampling import RequestedSampling
from .values import Reader

__all__ = ["ATTEMPT_HEADER", "Intake", "require_alive", "take"]

ATTEMPT_HEADER = "x-pdpanel-attempt"
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
    """
    require_alive(engine)
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
    generate = GenerateRequest(rid, prompt, params, bootstrap, attempt)
    return Intake(generate, reader, streaming, numbered=bool(attempt))


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
