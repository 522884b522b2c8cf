"""The REST routes of the Hardware tab: this host, and the host in a file that the person opens.

The file comes as the raw body, is kept in a temporary file for the length of the request, and is parsed in a
worker thread. Few files are taken at once and one is parsed: the others wait unread, so that neither disk nor memory
fills. The guard has already checked who asks. Called by `app`.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO, Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from ...engine.errors import describe_value
from ...nic_probe.errors import SourceError
from ..sizes import sized
from .port import Source

__all__ = ["MOST_BYTES", "hardware_routes"]

MOST_BYTES = 64_000_000
_TAKEN_AT_ONCE = 4
# A capture becomes a tree in memory many times its size.
_PARSED_AT_ONCE = 1


class _TooBigError(Exception):
    """The body is longer than `MOST_BYTES`."""


async def _save(chunks: AsyncIterator[bytes], file: IO[bytes], limit: int) -> None:
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > limit:
            raise _TooBigError
        await asyncio.to_thread(file.write, chunk)
    await asyncio.to_thread(file.flush)


def hardware_routes(source: Source, limit: int = MOST_BYTES) -> APIRouter:
    """Returns the routes; a file may have `limit` bytes."""
    routes = APIRouter(prefix="/api/hardware")
    taken, parsed = asyncio.Semaphore(_TAKEN_AT_ONCE), asyncio.Semaphore(_PARSED_AT_ONCE)

    @routes.get("")
    async def hardware() -> Mapping[str, Any]:
        return await asyncio.to_thread(source.hardware)

    @routes.post("/inspect")
    async def inspect(request: Request, name: Annotated[str, Query(min_length=1, max_length=255)]) -> JSONResponse:
        async with taken:
            return await answer(request, name)

    async def answer(request: Request, name: str) -> JSONResponse:
        with tempfile.NamedTemporaryFile(prefix="pdpanel-inspect-") as file:
            try:
                await _save(request.stream(), file, limit)
                async with parsed:
                    # Who chose another file meanwhile waits for the answer to that one.
                    if await request.is_disconnected():
                        raise ClientDisconnect
                    return JSONResponse(await asyncio.to_thread(source.inspect_hardware, Path(file.name), name))
            except _TooBigError:
                problem = f"has more than {sized(limit)}; open it with pdpanel probe --root on the command line"
                return JSONResponse({"error": f"file = {describe_value(name)}: {problem}."}, 413)
            except SourceError as error:
                return JSONResponse({"error": str(error)}, 422)
            except ClientDisconnect:
                return JSONResponse({"error": "The browser went away while it sent the file."}, 400)

    return routes
