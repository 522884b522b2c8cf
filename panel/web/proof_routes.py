"""The REST routes of the proof of transport.

POST /api/runs/{id}/proof begins one and answers at once; GET answers how far it is and what the last one came to, with
the fields of `proof_port.ProofView`. A proof sends test requests to the run and changes nothing of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from .port import Source

__all__ = ["proof_routes"]


class _NoFields(BaseModel):
    model_config = ConfigDict(extra="forbid")


def proof_routes(source: Source) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix="/api")

    @routes.post("/runs/{run_id}/proof", status_code=202)
    async def begin(run_id: str, body: _NoFields) -> dict[str, object]:
        return asdict(await asyncio.to_thread(source.proof.begin, run_id))

    @routes.get("/runs/{run_id}/proof")
    async def last(run_id: str) -> dict[str, object]:
        return asdict(await asyncio.to_thread(source.proof.last, run_id))

    return routes
