"""How the Plan tab's routes read JSON and answer it: bounded, checked, and with the time that the work took.

Knows no route. The guard has already checked who asks and that it is JSON. Called by the `plan_*_routes`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...engine.errors import ConfigError, RequestError, describe_value

__all__ = ["MOST_BYTES", "Body", "Name", "Text", "answer", "read_body"]

MOST_BYTES = 1 << 20

Text = Annotated[str, Field(max_length=MOST_BYTES)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Body(BaseModel):
    """Common to all bodies: unknown fields are errors, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


BodyType = TypeVar("BodyType", bound=Body)


async def read_body(request: Request, model: type[BodyType]) -> BodyType:
    """Returns the request's JSON as a `model`.

    Raises:
        ConfigError: it has more than 1 MiB.
        RequestError: it is not what the route takes.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        # The guard lets raw bytes pass, for files.
        raise RequestError("Content-Type", kind, "is not JSON", "send application/json")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BYTES:
            raise ConfigError("body", "JSON", "has more than 1 MiB", "use the command line for a text of this size")
    try:
        return model.model_validate_json(bytes(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        text = first["msg"][:1].lower() + first["msg"][1:]
        raise RequestError(field, describe_value(first["input"])[:80], text, "reload the page") from None


async def answer(work: Callable[[], Any]) -> Response:
    """Returns what `work` returns as JSON; it runs in a worker thread, and Server-Timing tells how long it took."""

    def encoded() -> tuple[bytes, float]:
        began = time.perf_counter()
        data = msgspec.json.encode(work())
        return data, (time.perf_counter() - began) * 1000

    data, took_ms = await asyncio.to_thread(encoded)
    headers = {"Server-Timing": f"plan;dur={took_ms:.1f}", "Cache-Control": "no-store"}
    return Response(data, media_type="application/json", headers=headers)
