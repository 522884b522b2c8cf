"""The router's HTTP surface: routes, who may call them, and the order in which its parts start and stop.

No decision about a request is made here; the relay and `info` do that.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from ..errors import PdpanelError
from ..http.guard import AllowedHosts
from .admission import Admission
from .body import ROUTES
from .config import RouterConfig
from .failure import answer_for, error_answer
from .gate import Gate
from .health import HealthWatch
from .info import Info
from .lifeline import Lifelines
from .loop_lag import LoopLag
from .members import Members
from .metrics import METRICS_CONTENT_TYPE, RouterMetrics
from .relay import Relay
from .tries import Tries
from .upstream import Upstream
from .web_client import WebClient, Written, respond
from .workers import WorkerTable

__all__ = ["Router"]

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_DRAIN_PAUSE_S = 0.02
_log = logging.getLogger(__name__)


def _joined(request: web.Request, header: str) -> str | None:
    """Returns the header; several of them joined, which no check accepts."""
    values = request.headers.getall(header, [])
    return ", ".join(values) if values else None


class Router:
    """One router: `app` serves it between `start` and `stop`.

    Args:
        rng: source of the policies' and the backoff's random numbers (rooms have their own).
        port: where it listens, which is not the configuration's when that says 0.
    """

    def __init__(self, config: RouterConfig, rng: random.Random, *, port: int) -> None:
        self._config = config
        allowed = AllowedHosts.of(config.host, port, config.allowed_hosts)
        self.gate = Gate(allowed, config.api_key, config.admin_api_key)
        self.table = WorkerTable(
            config.workers, config.health, rng, breaker=config.breaker, cache=config.cache, clock=time.monotonic
        )
        self.admission = Admission(config.max_concurrent_requests, config.queue_size, config.queue_timeout)
        self.metrics = RouterMetrics(self.table, self.admission, time.monotonic)
        self.loop_lag = LoopLag(time.monotonic())
        self.metrics.watch_loop(self.loop_lag)
        lifelines = Lifelines()
        self._upstream = Upstream(config.api_key, config.admin_api_key)
        self._health = HealthWatch(self.table, config.health, self._upstream, lifelines)
        tries = Tries(config, self.table, self._health, self._upstream, lifelines, self.metrics, rng)
        self.relay = Relay(config, tries, self.admission, self.metrics, rng)
        self._members = Members(config, self.table, self._health, lifelines)
        self._info = Info(self.table, self._upstream, self.admission)
        self.app = self._make_app()

    async def start(self) -> None:
        """Opens the client and begins to poll the workers."""
        await self._upstream.open()
        self._health.start()
        self._members.start()

    async def drain(self) -> None:
        """Refuses new requests and waits until the open ones have ended; cancel it when that takes too long."""
        self._info.draining = True
        self.relay.drain()
        while self.relay.open_requests:  # noqa: ASYNC110 (requests come and go in other tasks)
            await asyncio.sleep(_DRAIN_PAUSE_S)

    async def stop(self) -> None:
        """Ends open requests, telling their clients, and closes all connections to workers."""
        await self.relay.stop()
        await self._members.stop()
        await self._health.stop()
        await self._upstream.close()

    def metrics_app(self) -> web.Application:
        """Returns an application with /metrics alone, for a port of its own."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        return app

    def _make_app(self) -> web.Application:
        app = web.Application(middlewares=[self._check], client_max_size=self._config.max_payload_bytes)
        info, get, post = self._info, app.router.add_get, app.router.add_post
        for route in ROUTES:
            post(route, self._serve)
        get("/health", self._alive)
        get("/liveness", self._alive)
        get("/readiness", info.readiness)
        get("/health_generate", info.readiness)
        get("/openapi.json", info.openapi)
        get("/workers", info.workers)
        post("/workers", self._members.add)
        get("/workers/{name:.+}", info.worker)
        app.router.add_delete("/workers/{name:.+}", self._members.remove)
        get("/server_info", info.server_info)
        get("/get_server_info", info.server_info)
        get("/get_loads", info.loads)
        for route in ("/v1/models", "/v1/models/{name:.+}", "/model_info", "/get_model_info"):
            get(route, info.from_one)
        get("/metrics", self._metrics)
        post("/flush_cache", self._flush)
        post("/abort_request", self._abort)
        return app

    @web.middleware
    async def _check(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refuses what a web page of somebody else, or a client without the key, sends; errors get OpenAI's shape."""
        refusal = self.gate.refusal(
            request.method, request.path, lambda name: _joined(request, name), has_body=request.can_read_body
        )
        if refusal is not None:
            return respond(refusal)
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status == 405 and isinstance(error, web.HTTPMethodNotAllowed):
                message = f"{request.method} {request.path[:80]}: use {' or '.join(sorted(error.allowed_methods))}."
            else:
                served = ", ".join(
                    sorted({route.resource.canonical for route in self.app.router.routes() if route.resource})
                )
                message = f"{request.method} {request.path[:80]}: {error.reason.lower()}; the router serves {served}."
            return respond(error_answer(error.status, message))
        except PdpanelError as error:
            return respond(answer_for(error))
        except ConnectionError:
            raise  # The client has gone; aiohttp drops the connection.
        except Exception:
            _log.exception("%s failed", request.path)
            return respond(error_answer(500, "The router failed on this request; its log says why."))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        client = WebClient(request, self._config.max_payload_bytes)
        answer, request_id = await self.relay.serve(client)
        return Written(client) if answer is None else respond(answer, request_id)

    async def _alive(self, _: web.Request) -> web.Response:
        return web.Response(text="OK")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self.metrics.text(), headers={"Content-Type": METRICS_CONTENT_TYPE})

    async def _flush(self, request: web.Request) -> web.Response:
        rows, worst = await self._info.to_all(request, "/flush_cache", None)
        return web.json_response({"workers": rows}, status=worst if worst >= 400 else 200)

    async def _abort(self, request: web.Request) -> web.Response:
        raw = await request.read()
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if not isinstance(body, dict) or not (isinstance(body.get("rid"), str) or body.get("abort_all") is True):
            return respond(
                error_answer(400, "body: no request is named; send rid or abort_all: true in a JSON object.")
            )
        rows, _ = await self._info.to_all(request, "/abort_request", raw)
        found = self.relay.abort(str(body.get("rid", "")), everything=body.get("abort_all") is True)
        return web.json_response({"router": found, "workers": rows})
