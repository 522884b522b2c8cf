"""The routes of the Deploy view beside start and stop: the check before the button, and actions on whole runs.

Nothing here carries a command; a run is named and looked up. The guard has already checked who asks. Called by `app`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from ..deployment import dump_deployment, parse_deployment
from ..doctor_text import finding_json
from ..start.consent import needs_consent
from ..start.start_check import StartReport
from ..yardstick import unified_of
from .deploy_form import deployment_of_form
from .deploy_port import RunCommands
from .plan_body import Body, Text, answer, read_body
from .plan_preview import refuse_dumps
from .plan_yaml import read_fields
from .port import DeployForm, Source

__all__ = ["deploy_routes"]


class _FormBody(Body):
    mode: Literal["pd", "unified"] = "pd"
    model: str = Field(default="", max_length=1000)
    prefill: int = Field(default=1, ge=1, le=64)
    decode: int = Field(default=1, ge=1, le=64)
    transport: str = Field(default="mooncake", max_length=40)
    unified: int = Field(default=1, ge=1, le=64)


class _CheckBody(Body):
    form: _FormBody | None = None
    text: Text = ""


class _EmptyBody(Body):
    pass


def deploy_routes(source: Source, wake: Callable[[], None]) -> APIRouter:
    """Returns the routes; `wake` makes the page look at the runs at once."""
    routes = APIRouter(prefix="/api")

    @routes.post("/deploy/check")
    async def check(request: Request) -> Response:
        body = await read_body(request, _CheckBody)

        def work() -> dict[str, Any]:
            if body.form is not None:
                deployment = deployment_of_form(DeployForm(**body.form.model_dump()))
            else:
                deployment = parse_deployment(read_fields(body.text))
                refuse_dumps(deployment)
            return _told(source.start_checks.check(deployment))

        return await answer(work)

    @routes.get("/runs/{run_id}/deployment")
    async def deployment(run_id: str) -> Response:
        return await answer(lambda: {"text": source.run_commands.deployment_text(run_id)})

    @routes.get("/runs/{run_id}/unified")
    async def unified(run_id: str) -> Response:
        """Read the unified deployment that a run is compared with, as YAML: as many workers, one role."""

        def work() -> dict[str, Any]:
            twin = unified_of(parse_deployment(read_fields(source.run_commands.deployment_text(run_id))))
            text = dump_deployment(twin)
            return {"text": text, "workers": twin.unified.count, "needs_consent": needs_consent(twin)}

        return await answer(work)

    @routes.post("/runs/{run_id}/{action}")
    async def act(run_id: str, action: Literal["restart", "resume", "adopt", "detach"], request: Request) -> Response:
        await read_body(request, _EmptyBody)
        commands: RunCommands = source.run_commands
        calls = {
            "restart": commands.restart,
            "resume": commands.resume,
            "adopt": commands.adopt,
            "detach": commands.detach,
        }
        response = await answer(lambda: {"run": calls[action](run_id)})
        wake()
        return response

    return routes


def _told(report: StartReport) -> dict[str, Any]:
    return {
        "findings": [finding_json(finding) for finding in report.findings],
        "fixes": [asdict(fix) for fix in report.fixes],
        "blocked": report.blocked,
    }
