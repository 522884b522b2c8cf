"""The routes that take a deployment out of the Plan tab: as an export, or as processes on this host.

An offer shows every argument and variable before a start, which carries the person's agreement to exactly that. The
guard has already checked who asks. Called by `app`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from ..deployment import Deployment, parse_deployment
from ..export.export import export_files
from ..export.exported import ExportedFile
from ..export.formats import FORMATS
from ..export.writing import archive
from ..simulate.marks import marked_files
from .plan_body import Body, Name, Text, answer, read_body
from .plan_preview import plan_of_text, refuse_dumps
from .plan_yaml import read_fields
from .port import Source

__all__ = ["action_routes"]


class _TextBody(Body):
    text: Text


class _StartBody(Body):
    text: Text
    consent: Annotated[str, Field(max_length=200)] = ""


class _ExportBody(Body):
    text: Text
    format: Name


def action_routes(source: Source, wake: Callable[[], None]) -> APIRouter:
    """Returns the routes; `wake` makes the page look at the runs at once."""
    routes = APIRouter(prefix="/api/plan")
    told = source.simulation.told if source.simulation else ""

    @routes.get("/formats")
    async def formats() -> Response:
        known = [{"name": each.name, "title": each.title, "about": each.about} for each in FORMATS.values()]
        return await answer(lambda: {"formats": known})

    @routes.post("/export")
    async def export(request: Request) -> Response:
        body = await read_body(request, _ExportBody)
        return await answer(lambda: _listed(_exported(body, told)))

    @routes.post("/export.zip")
    async def export_zip(request: Request) -> Response:
        body = await read_body(request, _ExportBody)

        def work() -> tuple[bytes, str]:
            deployment, files = _exported(body, told)
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{deployment.name}-{body.format}")
            return archive(files), name

        data, name = await asyncio.to_thread(work)
        headers = {"Content-Disposition": f'attachment; filename="{name}.zip"', "Cache-Control": "no-store"}
        return Response(data, media_type="application/zip", headers=headers)

    @routes.post("/offer")
    async def offer(request: Request) -> Response:
        body = await read_body(request, _TextBody)

        def work() -> dict[str, Any]:
            refuse_dumps(parse_deployment(read_fields(body.text)))
            return asdict(source.offer(body.text))

        return await answer(work)

    @routes.post("/start")
    async def start(request: Request) -> Response:
        body = await read_body(request, _StartBody)

        def work() -> dict[str, str]:
            refuse_dumps(parse_deployment(read_fields(body.text)))
            return {"run": source.start_text(body.text, body.consent)}

        response = await answer(work)
        wake()
        return response

    return routes


def _exported(body: _ExportBody, told: str) -> tuple[Deployment, tuple[ExportedFile, ...]]:
    deployment, made = plan_of_text(body.text)
    files = export_files(made, deployment, body.format)
    return deployment, marked_files(files, told) if told else files


def _listed(exported: tuple[Deployment, tuple[ExportedFile, ...]]) -> dict[str, Any]:
    deployment, files = exported
    return {
        "name": deployment.name,
        "files": [{"path": file.path, "text": file.text, "executable": file.executable} for file in files],
    }
