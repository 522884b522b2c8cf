"""The REST routes of the panel: deploy, stop, restart, try a prompt, samples.

Actions name a run and one of its processes and never carry a command. Each error is one sentence under
"error". The guard has already checked who asks. Blocking calls run in worker threads.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Annotated, Literal

import aiohttp
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from ...engine.errors import NotFoundError, PdpanelError, describe_value
from .hub import Hub
from .port import DeployForm, RunView, Source
from .tryout import TryRequest, try_prompt

__all__ = ["add_error_answers", "api_routes"]


class _DeployBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    mode: Literal["pd", "unified"] = "pd"
    model: Annotated[str, Field(min_length=1, max_length=1000)]
    prefill: Annotated[int, Field(ge=1, le=64)] = 1
    decode: Annotated[int, Field(ge=1, le=64)] = 1
    transport: Annotated[str, Field(min_length=1, max_length=40)] = "mooncake"
    unified: Annotated[int, Field(ge=1, le=64)] = 1


def add_error_answers(app: FastAPI) -> None:
    """Makes every error of the routes one sentence in JSON."""

    async def on_own(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, PdpanelError)
        return JSONResponse({"error": str(error)}, error.http_status)

    async def on_body(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or "body"
        text = f"{field} = {describe_value(first.get('input'))}: {first['msg']}."
        return JSONResponse({"error": text}, 422)

    app.add_exception_handler(PdpanelError, on_own)
    app.add_exception_handler(RequestValidationError, on_body)


def _find(source: Source, run_id: str) -> RunView:
    for run in source.runs():
        if run.id == run_id:
            return run
    raise NotFoundError("run", run_id, "there is no such run", "choose one of the list")


def _find_process(source: Source, run_id: str, name: str) -> None:
    if all(process.name != name for process in _find(source, run_id).processes):
        raise NotFoundError("process", name, "the run has no such process", "choose one of the table")


async def _lines(events: AsyncIterator[Mapping[str, object]]) -> AsyncIterator[str]:
    async for event in events:
        yield json.dumps(event) + "\n"


def api_routes(source: Source, hub: Hub) -> APIRouter:
    """Returns the REST routes; `app.state.http` is the aiohttp session of the try-it relay."""
    routes = APIRouter(prefix="/api")

    @routes.get("/runs")
    async def runs() -> dict[str, object]:
        return {"runs": [asdict(run) for run in await asyncio.to_thread(source.runs)]}

    @routes.post("/runs", status_code=202)
    async def deploy(body: _DeployBody) -> dict[str, str]:
        form = DeployForm(**body.model_dump())
        run_id = await asyncio.to_thread(source.start, form)
        hub.wake()
        return {"run": run_id}

    @routes.post("/runs/{run_id}/stop", status_code=202)
    async def stop(run_id: str) -> dict[str, str]:
        await asyncio.to_thread(_find, source, run_id)
        await asyncio.to_thread(source.stop, run_id)
        hub.wake()
        return {"run": run_id}

    @routes.post("/runs/{run_id}/processes/{name}/{action}", status_code=202)
    async def act(run_id: str, name: str, action: Literal["stop", "restart"]) -> dict[str, str]:
        await asyncio.to_thread(_find_process, source, run_id, name)
        call = source.stop_process if action == "stop" else source.restart_process
        await asyncio.to_thread(call, run_id, name)
        hub.wake()
        return {"run": run_id, "process": name}

    @routes.get("/runs/{run_id}/samples")
    async def samples(run_id: str, since: int = 0) -> dict[str, object]:
        await asyncio.to_thread(_find, source, run_id)
        return asdict(await asyncio.to_thread(source.samples, run_id, since))

    @routes.post("/runs/{run_id}/try")
    async def try_it(run_id: str, body: TryRequest, request: Request) -> StreamingResponse:
        run = await asyncio.to_thread(_find, source, run_id)
        session: aiohttp.ClientSession = request.app.state.http
        key = await asyncio.to_thread(source.attach.key_for, run_id, run.router_url)
        events = try_prompt(session, run.router_url, run.model, body, key)
        return StreamingResponse(
            _lines(events), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"}
        )

    return routes
