"""The worker's HTTP application: routes, and the layers that every request passes.

From outside in: errors (anything becomes a status and one sentence), guard (who may speak to us), keys,
route. The worker's start-up builds it with `build_app` and serves it with `make_runner`, which sees to it
that a client that hangs up cancels its route at once and that a slow one is cut at last.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..errors import PdpanelError
from . import admin, info, profile
from .answer import error_body, error_response, json_response
from .body import MAX_BODY_BYTES
from .generate import generate
from .guard import AllowedHosts, check_request
from .openai import chat_completions, completions
from .openapi import openapi
from .patience import patient_runner
from .port import EnginePort

__all__ = ["build_app", "make_runner", "standard_layers"]

_log = logging.getLogger(__name__)

_Route = Callable[[web.Request], Awaitable[web.StreamResponse]]
_EngineRoute = Callable[[EnginePort, web.Request], Awaitable[web.StreamResponse]]

_GET_ROUTES: dict[str, _EngineRoute] = {
    "/health": info.health,
    "/ready": info.health,
    "/health_generate": info.health_generate,
    "/metrics": info.metrics,
    "/v1/models": info.models,
    "/v1/models/{name:.+}": info.model_by_name,
    "/model_info": info.model_info,
    "/get_model_info": info.model_info,
    "/server_info": info.server_info,
    "/get_server_info": info.server_info,
    "/get_load": info.get_load,
    "/profile": profile.profile,
    "/openapi.json": openapi,
}
_POST_ROUTES: dict[str, _EngineRoute] = {
    "/generate": generate,
    "/v1/completions": completions,
    "/v1/chat/completions": chat_completions,
}
_ADMIN_ROUTES: dict[str, _EngineRoute] = {
    "/flush_cache": admin.flush_cache,
    "/abort_request": admin.abort_request,
    "/start_profile": profile.start_profile,
    "/stop_profile": profile.stop_profile,
}
# As in SGLang: probes and scrapers carry no key.
_OPEN_PATHS = ("/health", "/ready", "/health_generate", "/metrics")
# SGLang's clients and routers post these without a body.
_BODILESS_PATHS = ("/flush_cache", "/start_profile", "/stop_profile")


def build_app(engine: EnginePort, allowed: AllowedHosts | None = None) -> web.Application:
    """Returns the application of one worker.

    Args:
        allowed: the names it answers to; by default those that follow from --host, --port and --allowed-hosts.
    """
    config = engine.config
    hosts = allowed or AllowedHosts.of(config.host, config.port, config.allowed_hosts)
    layers = standard_layers(hosts, config.api_key, config.admin_api_key)
    app = web.Application(middlewares=layers, client_max_size=MAX_BODY_BYTES)
    for path, route in _GET_ROUTES.items():
        app.router.add_get(path, partial(route, engine))
    for path, route in (_POST_ROUTES | _ADMIN_ROUTES).items():
        app.router.add_post(path, partial(route, engine))
    return app


def standard_layers(hosts: AllowedHosts, api_key: str, admin_api_key: str) -> list[Callable[..., Any]]:
    """Returns what every request of a worker passes: errors, the guard, the keys."""
    return [_catch_errors, _guard(hosts), _require_keys(api_key, admin_api_key)]


def make_runner(app: web.Application, *, shutdown_timeout_s: float = 5.0) -> web.AppRunner:
    """Returns the runner that serves `app` as it must be served.

    Args:
        shutdown_timeout_s: how long `cleanup` waits for open responses.
    """
    logger = logging.getLogger(f"{__name__}.server")
    logger.addFilter(_is_ours)
    return patient_runner(
        app, handler_cancellation=True, access_log=None, logger=logger, shutdown_timeout=shutdown_timeout_s
    )


def _is_ours(record: logging.LogRecord) -> bool:
    """False for the traceback that aiohttp logs when somebody, such as a gRPC probe, sends no HTTP/1.1."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | web.RequestPayloadError):
        _log.debug("refused what is not HTTP/1.1: %s", type(error).__name__)
        return False
    return True


@web.middleware
async def _catch_errors(request: web.Request, handler: _Route) -> web.StreamResponse:
    try:
        return await handler(request)
    except PdpanelError as error:
        if error.http_status >= 500:
            _log.warning("%s %s failed: %s", request.method, request.path, error)
        return error_response(error)
    except web.HTTPException as error:
        return _http_error(request, error)
    except ConnectionResetError:
        raise  # the client has gone; aiohttp drops the connection
    except Exception as error:
        _log.exception("%s %s failed", request.method, request.path)
        return error_response(error)


def _http_error(request: web.Request, error: web.HTTPException) -> web.Response:
    path = repr(request.path[:80])
    if isinstance(error, web.HTTPNotFound):
        message = f"path = {path}: the bundled engine does not serve this route; use one of {_served()}."
        return json_response(error_body(message, 404, param="path"), 404)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"method = {request.method[:20]!r}: {path} does not take it; use {allowed}."
        return json_response(error_body(message, 405, param="method"), 405, {"Allow": allowed})
    return json_response(error_body(f"The request was refused: {error.reason}.", error.status), error.status)


def _served() -> str:
    return ", ".join(path for path in (*_POST_ROUTES, *_GET_ROUTES, *_ADMIN_ROUTES) if "{" not in path)


def _guard(allowed: AllowedHosts) -> Callable[[web.Request, _Route], Awaitable[web.StreamResponse]]:
    @web.middleware
    async def guard(request: web.Request, handler: _Route) -> web.StreamResponse:
        headers = request.headers
        content_type = _joined(request, "Content-Type")
        if request.path in _BODILESS_PATHS and not request.can_read_body:
            content_type = "application/json"  # no body has no type
        refusal = check_request(
            _joined(request, "Host"),
            _joined(request, "Origin"),
            headers.get("Sec-Fetch-Site"),
            request.method,
            content_type,
            allowed,
        )
        if refusal is not None:
            return json_response(error_body(refusal.message, refusal.status), refusal.status)
        return await handler(request)

    return guard


def _joined(request: web.Request, header: str) -> str | None:
    """Returns the header; several of them joined, which no check accepts."""
    values = request.headers.getall(header, [])
    return ", ".join(values) if values else None


def _require_keys(api_key: str, admin_api_key: str) -> Callable[[web.Request, _Route], Awaitable[web.StreamResponse]]:
    @web.middleware
    async def require_keys(request: web.Request, handler: _Route) -> web.StreamResponse:
        is_admin = request.path in _ADMIN_ROUTES
        key = (admin_api_key or api_key) if is_admin else api_key
        if key and request.path not in _OPEN_PATHS and not _carries(request, key):
            flag = "--admin-api-key" if is_admin and admin_api_key else "--api-key"
            message = f"Authorization: no valid key; send 'Authorization: Bearer KEY' with the {flag}."
            return json_response(error_body(message, 401), 401, {"WWW-Authenticate": "Bearer"})
        return await handler(request)

    return require_keys


def _carries(request: web.Request, key: str) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given = token.strip().encode("utf-8", "surrogateescape")
    return scheme.lower() == "bearer" and hmac.compare_digest(given, key.encode())
