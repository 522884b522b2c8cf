"""The description of the REST API: `GET /api/openapi.json`, and the same as a page at /api/docs.

The page is plain HTML made here: FastAPI's own would load its script from another host. Called by `app`, last of all,
so that it sees every route.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse

from .api_summaries import SUMMARIES

__all__ = ["api_schema", "docs_routes"]

_JSON = "application/json"
_ERROR_STATES = {
    "400": "The request cannot be served as asked: one sentence with the field, its value and what to do.",
    "401": "No token and no session.",
    "403": "From a page of another origin or site.",
    "404": "No such run, process or file.",
    "409": "In use, or not possible now.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "A field of the body is wrong: one sentence.",
    "502": "The run's runner or router does not answer.",
}
_TEXT = (
    "The panel and the command line are clients of the same runners. Send the token as Authorization: Bearer TOKEN, "
    "or with --auth a user and a password as Basic. Every POST takes Content-Type: application/json, and names runs "
    'and processes; none takes a command. An error is {"error": one sentence}.'
)
_STYLE = """
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem}
code,pre{font:14px/1.45 ui-monospace,monospace}pre{overflow:auto;border:1px solid;padding:.5rem}
section{border-top:1px solid;padding:.5rem 0}h2{font-size:1rem;margin:.25rem 0;overflow-wrap:anywhere}
table{border-collapse:collapse}td,th{border:1px solid;padding:.2rem .5rem;text-align:left;vertical-align:top}
"""


def _operations(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def api_schema(app: FastAPI) -> dict[str, Any]:
    """Returns the OpenAPI document of the routes of `app`, each with a sentence and its error answers."""
    schema: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    schema["info"] = {"title": "pdpanel", "version": "1", "description": _TEXT}
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Error"] = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string", "description": "One sentence."}},
    }
    schema["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "password": {"type": "http", "scheme": "basic"},
    }
    schema["security"] = [{"token": []}, {"password": []}]
    for method, path, operation in _operations(schema):
        told = operation.pop("description", "").strip().split("\n\n")[0].replace("\n", " ")
        operation["summary"] = told or SUMMARIES.get(f"{method} {path}") or operation.get("summary", "")
        operation["tags"] = [path.split("/")[2] if path.count("/") > 1 else "panel"]
        if method == "POST" and "requestBody" not in operation:
            kind = "application/octet-stream" if path.endswith(("/inspect", "/loads/import")) else _JSON
            body = {"type": "object"} if kind == _JSON else {"type": "string", "format": "binary"}
            operation["requestBody"] = {"content": {kind: {"schema": body}}}
        for status, text in _ERROR_STATES.items():
            content = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
            if status in ("401", "403"):
                content = {"text/plain": {"schema": {"type": "string"}}}
            operation["responses"][status] = {"description": text, "content": content}
    return schema


def _section(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section><h2><code>{method} {escape(path)}</code></h2><p>{escape(operation['summary'])}</p>"
    if parameters := operation.get("parameters"):
        yield '<table><thead><tr><th scope="col">Name</th><th scope="col">In</th><th scope="col">Type</th></tr></thead>'
        for one in parameters:
            kind = escape(json.dumps({key: value for key, value in one["schema"].items() if key != "title"}))
            need = "" if one.get("required") else " (optional)"
            yield f"<tr><td><code>{escape(one['name'])}</code>{need}</td><td>{one['in']}</td><td>{kind}</td></tr>"
        yield "</table>"
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<details><summary>Body: {escape(kind)}</summary><pre>{_shown(body['schema'])}</pre></details>"
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            for kind, body in answer.get("content", {}).items():
                text = _shown(body["schema"])
                yield f"<details><summary>{status}: {escape(kind)}</summary><pre>{text}</pre></details>"
    yield "</section>"


def _shown(value: object) -> str:
    return escape(json.dumps(value, indent=2))


def _page(schema: Mapping[str, Any]) -> str:
    sections = [
        part
        for method, path, operation in sorted(_operations(schema), key=lambda each: (each[1], each[0]))
        for part in _section(method, path, operation)
    ]
    errors = "".join(f"<tr><td>{status}</td><td>{escape(text)}</td></tr>" for status, text in _ERROR_STATES.items())
    types = _shown(schema["components"]["schemas"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>pdpanel: REST API</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body><main>'
        f"<h1>REST API</h1><p>{escape(_TEXT)}</p>"
        '<table><thead><tr><th scope="col">Status</th><th scope="col">Means</th></tr></thead>'
        f"{errors}</table>{''.join(sections)}"
        f'<section><h2 id="types">Types</h2><pre tabindex="0">{types}</pre></section></main></body></html>'
    )


def docs_routes(app: FastAPI) -> APIRouter:
    """Returns the routes that describe the routes of `app`."""
    routes = APIRouter(prefix="/api")
    made: dict[str, Any] = {}

    async def schema() -> dict[str, Any]:
        if not made:
            made.update(await asyncio.to_thread(api_schema, app))
        return made

    @routes.get("/openapi.json")
    async def openapi() -> JSONResponse:
        return JSONResponse(await schema())

    @routes.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_page(await schema()))

    @routes.get("/session")
    async def session(request: Request) -> dict[str, str]:
        who = str(request.scope.get("pdpanel.who", ""))
        return {"user": who.removeprefix("user:") if who.startswith("user:") else ""}

    return routes
