"""GET /openapi.json: what the API takes, as an OpenAPI 3.1 document.

Bodies come from the field tables and the readers (`engine.http.schema`); answers are described here. Workers and the
router call it, each for its own routes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from ..config import Mode, ServerConfig
from ..errors import RequestError
from .admin import read_abort, read_flush
from .answer import json_response
from .bootstrap import read_bootstrap
from .fields import ABORT, FLUSH, PROFILE, SAMPLING, STOP_PROFILE, STREAM_OPTIONS
from .generate import GENERATE_ROUTE
from .images import image_data_schema
from .intake import LONGEST_NAME, Route, read_common
from .openai import CHAT_ROUTE, COMPLETIONS_ROUTE, read_stream_options
from .openapi_answers import ANSWERS, answer, problems
from .port import EnginePort, ModelCard
from .profile import PROFILE_GIVEN, read_profile
from .prompt import MAX_PROMPTS, message_schema, read_chat_options
from .sampling import read_sampling_object
from .schema import Schema, SchemaReader, object_schema, token_ids_schema
from .values import Reader

__all__ = ["openapi", "openapi_document"]

_ANY_MODEL = ModelCard("", "", "", (), "", 2**31 - 1, 2**31 - 1, ())
_BOOTSTRAP = frozenset({"bootstrap_host", "bootstrap_port", "bootstrap_room"})
_OPEN = frozenset({"/health", "/ready", "/health_generate", "/metrics"})
_GETS = {
    "/health": "Status",
    "/ready": "Status",
    "/health_generate": "Status",
    "/metrics": "",
    "/v1/models": "Models",
    "/v1/models/{name}": "Model",
    "/model_info": "Info",
    "/get_model_info": "Info",
    "/server_info": "Info",
    "/get_server_info": "Info",
    "/get_load": "Loads",
    "/profile": "Profile",
}


async def openapi(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers GET /openapi.json on a worker."""
    paths = (resource.canonical for resource in request.app.router.resources())
    return json_response(openapi_document(paths, model=engine.model, config=engine.config))


def openapi_document(
    paths: Iterable[str],
    *,
    model: ModelCard | None = None,
    config: ServerConfig | None = None,
    omit: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Returns the document of a server.

    Args:
        paths: what it serves; those that are known here are described.
        model: sets ranges; None for a server that knows no model.
        config: the worker's; None for a server that takes no meeting place from clients.
        omit: request fields that it does not take from clients.
    """
    posts = _posts(model or _ANY_MODEL, config, omit if config else omit | _BOOTSTRAP)
    items: dict[str, Any] = {}
    for path in paths:
        if path in posts:
            items[path] = {"post": posts[path]}
        elif path in _GETS:
            items[path] = {"get": _get(path)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "pdpanel engine", "version": "1"},
        "security": [{}, {"key": []}],
        "paths": items,
        "components": {"schemas": ANSWERS, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _get(path: str) -> dict[str, Any]:
    content = answer(_GETS[path]) if _GETS[path] else {"text/plain": {"schema": {"type": "string"}}}
    named = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}]
    return {
        **({"parameters": named} if "{name}" in path else {}),
        **({"security": []} if path in _OPEN else {}),
        "responses": {"200": {"description": "Answer.", "content": content}, **problems(401, 403, 404, 405, 421, 503)},
    }


def _posts(card: ModelCard, config: ServerConfig | None, omit: frozenset[str]) -> dict[str, Any]:
    ids = token_ids_schema(card.vocab_size) | {"minItems": 1}
    text: Schema = {"type": "string", "minLength": 1}
    name: Schema = {"type": "string", "maxLength": LONGEST_NAME}
    prompts: dict[str, Schema] = {
        "text": {"anyOf": [text, _listed(text)]},
        "input_ids": {"anyOf": [ids, _listed(ids)]},
        "prompt": {"anyOf": [text, ids, _listed({"anyOf": [text, ids]})]},
        "messages": {"type": "array", "minItems": 1, "items": message_schema(with_images=card.images is not None)},
    }
    sampling = object_schema(SAMPLING, lambda reader: read_sampling_object(reader, card))
    own: dict[str, Schema] = {
        **prompts,
        "rid": {"anyOf": [name, {"type": "array", "items": name}]},
        "sampling_params": {"anyOf": [sampling, _listed(sampling)]},
        "stream_options": object_schema(STREAM_OPTIONS, read_stream_options),
        "image_data": image_data_schema(card.images),
        **_bootstrap(config),
    }

    def body(route: Route, needed: tuple[str, ...], *readers: Callable[[Reader], object]) -> Schema:
        shared = (lambda one: read_common(one, card), lambda one: route.read_logprobs(one, card), *readers)
        given = {field: schema for field, schema in own.items() if field in route.fields.implemented}
        return object_schema(route.fields, *shared, given=given, needed=needed, omit=omit)

    def sample(route: Route) -> Callable[[Reader], object]:
        return lambda reader: route.read_sampling(reader, card, 1)

    return {
        "/generate": _post(
            body(GENERATE_ROUTE, ()) | _one_of({name: prompts[name] for name in ("text", "input_ids")}),
            "Generated",
            streams=True,
        ),
        "/v1/completions": _post(
            body(COMPLETIONS_ROUTE, ("prompt",), sample(COMPLETIONS_ROUTE)), "Completion", streams=True
        ),
        "/v1/chat/completions": _post(
            body(CHAT_ROUTE, ("messages",), sample(CHAT_ROUTE), read_chat_options), "ChatCompletion", streams=True
        ),
        "/flush_cache": _post(object_schema(FLUSH, read_flush), "Flushed", needed=False),
        "/abort_request": _post(object_schema(ABORT, read_abort), "Aborted"),
        "/start_profile": _post(object_schema(PROFILE, read_profile, given=PROFILE_GIVEN), "Profile", needed=False),
        "/stop_profile": _post(object_schema(STOP_PROFILE), "Profile", needed=False),
    }


def _one_of(fields: Mapping[str, Schema]) -> Schema:
    """Returns what an object must fulfil beside its other rules, so that exactly one of `fields` is there."""
    return {
        "oneOf": [
            {
                "required": [name],
                "properties": {other: fields[other] if other == name else {"type": "null"} for other in fields},
            }
            for name in fields
        ]
    }


def _post(schema: Schema, kind: str, *, streams: bool = False, needed: bool = True) -> dict[str, Any]:
    # OpenAPI 3.1 has no words for what an event holds, and readers differ on what a schema here is about.
    content = answer(kind) | ({"text/event-stream": {}} if streams else {})
    statuses = (400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 499, 502, 503, 504)
    return {
        "requestBody": {"required": needed, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": "Answer.", "content": content}, **problems(*statuses)},
    }


def _listed(schema: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "maxItems": MAX_PROMPTS, "items": schema}


def _bootstrap(config: ServerConfig | None) -> dict[str, Schema]:
    if config is None or config.disaggregation_mode is Mode.UNIFIED:
        return {field: {"type": "null"} for field in _BOOTSTRAP}
    reader = SchemaReader()
    with contextlib.suppress(RequestError):  # nothing is there, which it refuses once it has read
        read_bootstrap(reader, config)
    return {field: {"anyOf": [one, {"type": "array", "items": one}]} for field, one in reader.found.items()}
