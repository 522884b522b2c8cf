"""The REST routes of the Benchmark tab: list, start, look at, stop, remove, export and import benchmarks.

A load goes to a run's router, which is looked up here, or to a URL that the person gave; bodies are checked by type and
bound, and never carry a command. Called by `app`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from ...engine.errors import ConfigError, ConflictError, NotFoundError, PdpanelError
from ..accuracy.job import INSTALL
from ..accuracy.task import AccuracySpec
from ..load.commands import equivalents
from ..load.export import FORMATS, export
from ..load.imported import imported_entries
from ..load.spec import Arrival, LoadSpec, Route, checked
from .bench_port import Bench
from .port import RunView, Source

__all__ = ["bench_routes"]

_MOST_FILE = 64 << 20
_MOST_COMPARED = 20

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Milliseconds = Annotated[float, Field(gt=0, le=86_400_000)]
Text = Annotated[str, Field(max_length=2000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Target(_Body):
    """Where it goes: a run of this panel, or a URL."""

    run: Text = ""
    url: Text = ""
    model: Text = ""
    name: Annotated[str, Field(max_length=200)] = ""
    api_key: Annotated[str, Field(max_length=10_000)] = ""


class _LoadBody(_Target):
    kind: Literal["load"] = "load"
    route: Literal["completions", "chat", "generate"] = "completions"
    arrival: Literal["concurrency", "poisson", "constant", "burst"] = "concurrency"
    rate: Annotated[float, Field(ge=0, le=10_000)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=4096)] | None = None
    requests: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    duration_s: Seconds | None = None
    warmup: Annotated[int, Field(ge=0, le=10_000)] = 1
    input: Annotated[str, Field(max_length=40)] = "128"
    output: Annotated[str, Field(max_length=40)] = "64"
    prompts: Text = ""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    ignore_eos: bool = True
    slo_ttft_ms: Milliseconds | None = None
    slo_itl_ms: Milliseconds | None = None
    timeout_s: Seconds = 600.0


class _AccuracyBody(_Target):
    questions: Annotated[str, Field(min_length=1, max_length=2000)]
    limit: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    shots: Annotated[int, Field(ge=0, le=5)] = 5
    chat: bool = False
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = 256
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 8


class _FoundBody(_Body):
    run: Annotated[str, Field(min_length=1, max_length=200)]
    log: Annotated[str, Field(min_length=1, max_length=200)]


def bench_routes(source: Source) -> APIRouter:
    """Returns the routes; those of one benchmark answer 404 for an id that is not known."""
    routes = APIRouter(prefix="/api/loads")
    bench: Bench = source.bench

    async def call(work: Callable[[], Any]) -> Any:
        """Runs blocking work in a thread; a disk that fails is one sentence."""
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            problem = error.strerror or str(error)
            raise PdpanelError(f"The results cannot be kept or read ({error.filename}): {problem}.") from None

    @routes.get("")
    async def listed(run: str = "") -> dict[str, Any]:
        entries = await call(bench.list)
        return {"loads": [entry for entry in entries if not run or entry.get("run") == run]}

    @routes.get("/abilities")
    async def abilities() -> dict[str, Any]:
        return {"accuracy": await call(bench.evaluates), "install": INSTALL}

    @routes.post("", status_code=202)
    async def start(body: _LoadBody) -> dict[str, str]:
        def work() -> str:
            url, labels, model = _target(source, body)
            spec = _spec(body, url, model)
            return bench.start(spec, name=body.name, labels=labels, api_key=_key(source, body, url))

        return {"load": await call(work)}

    @routes.post("/accuracy", status_code=202)
    async def evaluate(body: _AccuracyBody) -> dict[str, str]:
        def work() -> str:
            url, labels, model = _target(source, body)
            spec = AccuracySpec(
                url=url,
                model=model,
                **body.model_dump(include={"questions", "limit", "shots", "chat", "max_tokens", "concurrency"}),
            )
            return bench.start_accuracy(spec, name=body.name, labels=labels, api_key=_key(source, body, url))

        return {"load": await call(work)}

    @routes.post("/commands")
    async def commands(body: _LoadBody) -> dict[str, Any]:
        def work() -> list[dict[str, Any]]:
            url, _, model = _target(source, body)
            run = _run(source, body.run) if body.run else None
            known = body.model or (run.model if run else "") or model
            return [
                {"program": one.program, "command": one.command, "remarks": one.remarks}
                for one in equivalents(checked(_spec(body, url, model)), known)
            ]

        return {"commands": await call(work)}

    @routes.get("/found")
    async def found() -> dict[str, Any]:
        """List the logs of attached runs that hold results of benchmarks."""

        def work() -> list[dict[str, Any]]:
            runs = [run.id for run in source.runs() if run.attached]
            return [asdict(one) for run_id in runs for one in source.attach.found_results(run_id)]

        return {"found": await call(work)}

    @routes.post("/found", status_code=201)
    async def take(body: _FoundBody) -> dict[str, Any]:
        """Take over the results in one of these logs."""

        def work() -> list[str]:
            entries = source.attach.results_in(body.run, body.log)
            labelled = [{**entry, "run": body.run} for entry in entries]
            bench.add(labelled)
            return [entry["id"] for entry in labelled]

        return {"loads": await call(work)}

    @routes.post("/import", status_code=201)
    async def import_(request: Request, name: Annotated[str, Field(max_length=300)] = "the file") -> dict[str, Any]:
        data = await _file(request, name)

        def work() -> list[str]:
            entries = imported_entries(data, name, time.time())
            bench.add(entries)
            return [entry["id"] for entry in entries]

        return {"loads": await call(work)}

    @routes.get("/export")
    async def export_(ids: Annotated[str, Field(max_length=2000)], form: Literal["json", "csv", "md"]) -> Response:
        wanted = [one for one in ids.split(",") if one]
        if not 1 <= len(wanted) <= _MOST_COMPARED:
            raise ConfigError("ids", ids, f"does not name 1 to {_MOST_COMPARED} results", "separate them by commas")
        told = source.simulation.told if source.simulation is not None else ""
        text = await call(lambda: export([bench.get(one) for one in wanted], form, told))
        disposition = f'attachment; filename="pdpanel-benchmark.{form}"'
        headers = {"Cache-Control": "no-store", "Content-Disposition": disposition}
        return Response(text, media_type=FORMATS[form], headers=headers)

    @routes.get("/{load_id}")
    async def one(load_id: str, since: Annotated[int, Field(ge=0)] = 0) -> dict[str, Any]:
        entry = await call(lambda: bench.get(load_id))
        rows = entry.get("rows", [])
        return entry | {"rows": rows[since:], "row_count": len(rows)}

    @routes.post("/{load_id}/stop", status_code=202)
    async def stop(load_id: str) -> dict[str, str]:
        await call(lambda: bench.stop(load_id))
        return {"load": load_id}

    @routes.post("/{load_id}/remove", status_code=202)
    async def remove(load_id: str) -> dict[str, str]:
        await call(lambda: bench.remove(load_id))
        return {"load": load_id}

    return routes


def _run(source: Source, run_id: str) -> RunView:
    for run in source.runs():
        if run.id == run_id:
            return run
    raise NotFoundError("run", run_id, "there is no such run", "choose one of the list")


def _target(source: Source, body: _Target) -> tuple[str, dict[str, str], str]:
    """Returns the URL, what is known of the deployment behind it, and the model's name where the person gave one."""
    if bool(body.run) == bool(body.url):
        problem = "names a run and a URL" if body.run else "names no run and no URL"
        raise ConfigError("run", body.run, problem, "name one of the two")
    if not body.run:
        return body.url, {}, body.model
    run = _run(source, body.run)
    if not run.router_url:
        raise ConflictError("run", run.id, "has no router that takes requests", "choose a run with one, or a URL")
    if run.state not in ("ready", "degraded", "unsupervised"):
        raise ConflictError("run", run.id, f"is {run.state}", "wait until it is ready, or choose another")
    of_role = {
        role: sum(process.role == role for process in run.processes) for role in ("prefill", "decode", "unified")
    }
    if run.mode == "unified":
        mode = f"unified x{of_role['unified']}" if of_role["unified"] > 1 else "unified"
        transport = ""
    else:
        mode, transport = f"{of_role['prefill']}P{of_role['decode']}D", run.transport
    return run.router_url, {"run": run.id, "mode": mode, "transport": transport}, body.model


def _key(source: Source, body: _Target, url: str) -> str:
    """Returns the key that the person gave here, or gave for this host when the run was attached."""
    return body.api_key or (source.attach.key_for(body.run, url) if body.run else "")


def _spec(body: _LoadBody, url: str, model: str) -> LoadSpec:
    fields = body.model_dump(exclude={"run", "url", "model", "name", "api_key", "kind", "route", "arrival"})
    return LoadSpec(url=url, model=model, route=Route(body.route), arrival=Arrival(body.arrival), **fields)


async def _file(request: Request, name: str) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MOST_FILE:
            remedy = "use `pdpanel parse-log`, or give a file without details"
            raise ConfigError("file", name, f"is larger than {_MOST_FILE >> 20} MiB", remedy)
    return bytes(data)
