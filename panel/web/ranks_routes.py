"""The REST route of ranks: GET /api/runs/{id}/ranks says what each rank of a run's workers computes.

Thin: `Source.ranks` decides how often workers are asked.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from .plan_body import answer
from .port import Source

__all__ = ["ranks_routes"]


def ranks_routes(source: Source) -> APIRouter:
    """Returns the route."""
    routes = APIRouter(prefix="/api")

    @routes.get("/runs/{run_id}/ranks")
    async def ranks(run_id: str) -> Response:
        """Read which heads and experts each rank of a run's workers has, and which of them live."""
        return await answer(lambda: {"workers": source.ranks.of(run_id)})

    return routes
