"""The REST routes of the Plan tab: the form, starts, previews, differences, lint and presets of the person's own.

Nothing here starts a process or opens a file that a request names: presets go by their listed names, and a dump that a
deployment names is refused. The guard has already checked who asks. Called by `app`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...engine.errors import ConfigError
from ..deployment import parse_deployment
from ..dialects.registry import DIALECTS
from ..own_presets import own_presets, save_own_preset
from .plan_body import Body, Name, Text, answer, read_body
from .plan_diff import differences
from .plan_form import form_document, form_fields
from .plan_lint import imported, linted
from .plan_nics import nics_of
from .plan_preview import Edit, preview
from .plan_starts import default_text, start_text, starts
from .plan_yaml import read_fields
from .port import Source

__all__ = ["plan_routes"]


class _EditBody(Body):
    path: Name
    shown: str | bool | dict[str, str]


class _PreviewBody(Body):
    text: Text
    edits: tuple[_EditBody, ...] = ()


class _DiffBody(Body):
    before: Text
    after: Text
    of: Literal["yaml", "commands"] = "yaml"


class _StartBody(Body):
    name: Name
    own: bool = False


class _LintBody(Body):
    text: Text
    name: str = "the pasted text"
    engine_version: str = ""


class _SaveBody(Body):
    name: Name
    text: Text
    replace: bool = False


def plan_routes(source: Source, config_dir: Path | None) -> APIRouter:
    """Returns the routes.

    Args:
        source: asked for the NICs of this host.
        config_dir: where the person's presets are; None keeps none.
    """
    routes = APIRouter(prefix="/api/plan")
    fields = {field.path: field for field in form_fields()}
    turn = asyncio.Lock()

    @routes.get("/form")
    async def form() -> Response:
        return await answer(
            lambda: form_document(DIALECTS) | {"default": default_text(), "saves": config_dir is not None}
        )

    @routes.get("/starts")
    async def all_starts() -> Response:
        return await answer(lambda: {"starts": starts(config_dir)})

    @routes.post("/start-text")
    async def one_start(request: Request) -> Response:
        body = await read_body(request, _StartBody)
        return await answer(lambda: {"text": start_text(body.name, body.own, config_dir)})

    @routes.post("/preview")
    async def previewed(request: Request) -> Response:
        body = await read_body(request, _PreviewBody)
        edits = [Edit(edit.path, edit.shown) for edit in body.edits]
        async with turn:
            # Who typed on meanwhile waits for the answer to a newer text.
            if await request.is_disconnected():
                return Response(status_code=204)
            return await answer(lambda: preview(body.text, edits, fields))

    @routes.post("/diff")
    async def diff(request: Request) -> Response:
        body = await read_body(request, _DiffBody)
        return await answer(lambda: differences(body.before, body.after, body.of))

    @routes.post("/lint")
    async def lint(request: Request) -> Response:
        body = await read_body(request, _LintBody)
        return await answer(lambda: linted(body.text, body.name, body.engine_version))

    @routes.post("/import")
    async def import_(request: Request) -> Response:
        body = await read_body(request, _LintBody)
        return await answer(lambda: imported(body.text, body.name))

    @routes.post("/presets")
    async def save(request: Request) -> Response:
        body = await read_body(request, _SaveBody)

        def work() -> Mapping[str, Any]:
            if config_dir is None:
                raise ConfigError(
                    "preset", body.name, "has no folder to be kept in", "start the panel with a config folder"
                )
            deployment = parse_deployment(read_fields(body.text))
            if not body.replace and any(each.name == body.name for each in own_presets(config_dir)):
                return {"path": "", "taken": True}
            return {
                "path": str(save_own_preset(config_dir, body.name, deployment, replace=body.replace)),
                "taken": False,
            }

        return await answer(work)

    @routes.get("/nics")
    async def nics() -> Response:
        return await answer(lambda: nics_of(source.hardware()))

    return routes
