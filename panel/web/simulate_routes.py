"""GET /api/simulation: the simulated host with the deployment that it suggests, or null on a real one."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter

from .port import Source

__all__ = ["simulate_routes"]


def simulate_routes(source: Source) -> APIRouter:
    """Returns the route."""
    routes = APIRouter(prefix="/api")

    @routes.get("/simulation")
    async def simulation() -> dict[str, object]:
        """Describe the simulated host and the deployment that it suggests; null on a real host."""
        host = source.simulation
        return {"host": None if host is None else asdict(host)}

    return routes
