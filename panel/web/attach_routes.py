"""The REST routes of attached runs: attach, and what the logs of a run say together.

Paths and URLs come from the person who has the panel's token; they are checked in `panel.attach`. Called by `app`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from .attach_port import AttachedWorker, AttachForm, Attachments

__all__ = ["attach_routes"]

_Line = Annotated[str, Field(max_length=1000)]


class _Worker(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    url: _Line
    role: Literal["", "prefill", "decode", "unified"] = ""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(max_length=63)] = "attached"
    router: _Line = ""
    workers: Annotated[list[_Worker], Field(max_length=256)] = []
    api_key: _Line = ""
    log_folder: Annotated[str, Field(max_length=4096)] = ""
    logs: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=256)] = []


def attach_routes(attachments: Attachments, wake: Callable[[], None]) -> APIRouter:
    """Returns the routes; `wake` makes the page look at the runs at once."""
    routes = APIRouter(prefix="/api")

    @routes.post("/attach", status_code=202)
    async def attach(body: _Body) -> dict[str, str]:
        form = AttachForm(
            name=body.name or "attached",
            router=body.router.strip(),
            workers=tuple(AttachedWorker(worker.url, worker.role) for worker in body.workers),
            api_key=body.api_key.strip(),
            log_folder=body.log_folder.strip(),
            logs=tuple(body.logs),
        )
        run_id = await asyncio.to_thread(attachments.attach, form)
        wake()
        return {"run": run_id}

    @routes.get("/runs/{run_id}/explained")
    async def explained(run_id: str) -> JSONResponse:
        found = await asyncio.to_thread(attachments.findings, run_id)
        return JSONResponse(dict(found), headers={"Cache-Control": "no-store"})

    return routes
