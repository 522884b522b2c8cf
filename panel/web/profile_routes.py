"""The routes of a process's profile: begin, end, where it stands, its traces and one page about each.

A request names a run, a process and a rank, and never a path. The guard has already checked who asks. Called by `app`.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response

from .plan_body import Body, answer, read_body
from .port import Source

__all__ = ["profile_routes"]

_Rank = Annotated[int, Query(ge=0, le=4096)]


class _NoFields(Body):
    pass


def profile_routes(source: Source) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix="/api/runs/{run_id}/processes/{name}/profile")

    @routes.get("")
    async def status(run_id: str, name: str) -> Response:
        """Say where the last profile of a process stands, and which traces it has."""
        return await answer(lambda: source.profiles.status(run_id, name))

    @routes.post("/{action}")
    async def act(run_id: str, name: str, action: Literal["start", "stop"], request: Request) -> Response:
        """Begin to profile a process, or end with it; an end answers once the traces are written."""
        await read_body(request, _NoFields)
        work = source.profiles.start if action == "start" else source.profiles.stop
        return await answer(lambda: work(run_id, name))

    @routes.get("/summary")
    async def summary(run_id: str, name: str, rank: _Rank = 0) -> Response:
        """Read what took the time in the last trace of a rank."""
        return await answer(lambda: source.profiles.summary(run_id, name, rank))

    @routes.get("/trace")
    async def trace(run_id: str, name: str, rank: _Rank = 0) -> Response:
        """Download the last trace of a rank, which Perfetto opens."""
        path = await asyncio.to_thread(source.profiles.trace, run_id, name, rank)
        # As it is: with a Content-Encoding the browser would unpack what Perfetto takes packed.
        return FileResponse(path, media_type="application/gzip", filename=f"{run_id}-{name}-{path.name}")

    return routes
