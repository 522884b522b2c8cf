"""The REST routes of the Hardware tab: this host, and the host in a file that the person opens.

The file comes as the raw body, is kept in a temporary file for the length of the request, and is parsed in a
worker thread. The guard has already checked who asks. Called by `app`.
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
from .port import Source

__all__ = ["MOST_BYTES", "hardware_routes"]

MOST_BYTES = 64 << 20
# A capture becomes a tree in memory many times its size.
_AT_ONCE = 1


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
    slots = asyncio.Semaphore(_AT_ONCE)

    @routes.get("")
    async def hardware() -> Mapping[str, Any]:
        return await asyncio.to_thread(source.hardware)

    @routes.post("/inspect")
    async def inspect(request: Request, name: Annotated[str, Query(min_length=1, max_length=255)]) -> JSONResponse:
        with tempfile.NamedTemporaryFile(prefix="pdpanel-inspect-") as file:
            try:
                await _save(request.stream(), file, limit)
                async with slots:
                    return JSONResponse(await asyncio.to_thread(source.inspect_hardware, Path(file.name), name))
            except _TooBigError:
                problem = f"has more than {limit >> 20} MiB; open it with pdpanel probe --root on the command line"
                return JSONResponse({"error": f"file = {describe_value(name)}: {problem}."}, 413)
            except SourceError as error:
                return JSONResponse({"error": str(error)}, 422)
            except ClientDisconnect:
                return JSONResponse({"error": "The browser went away while it sent the file."}, 400)

    return routes
