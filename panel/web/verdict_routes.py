"""The REST route of verdicts: GET /api/runs/{id}/verdict says what limits a run now.

Thin: `Source.verdict` decides how often one is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fastapi import APIRouter

from .port import Source

__all__ = ["verdict_routes"]


def verdict_routes(source: Source) -> APIRouter:
    """Returns the route."""
    routes = APIRouter(prefix="/api")

    @routes.get("/runs/{run_id}/verdict")
    async def now(run_id: str) -> Mapping[str, object]:
        return await asyncio.to_thread(source.verdict.now, run_id)

    return routes
