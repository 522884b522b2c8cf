"""The REST routes that start a deployment written as text, such as the one of the Plan tab.

Two steps: what would run here, with the id of an agreement; and the start, which wants that id for a deployment that
brings more than the bundled engine's own commands. The guard has already checked who asks.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from .hub import Hub
from .port import Source

__all__ = ["deploy_routes"]

_MOST_TEXT = 1 << 20


class _Text(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: Annotated[str, Field(min_length=1, max_length=_MOST_TEXT)]


class _Start(_Text):
    consent: Annotated[str, Field(max_length=64)] = ""


def deploy_routes(source: Source, hub: Hub) -> APIRouter:
    """Returns the routes below /api/deployments."""
    routes = APIRouter(prefix="/api/deployments")

    @routes.post("/offer")
    async def offer(body: _Text) -> dict[str, object]:
        return asdict(await asyncio.to_thread(source.offer, body.text))

    @routes.post("/start", status_code=202)
    async def start(body: _Start) -> dict[str, str]:
        run_id = await asyncio.to_thread(source.start_text, body.text, body.consent)
        hub.wake()
        return {"run": run_id}

    return routes
