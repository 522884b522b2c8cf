"""Scripted workers and a running router for the router's tests, all in one event loop on free ports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import ClientConnectorError, ClientResponse, ClientSession, ClientTimeout, TCPConnector, web
from pdpanel.engine.net import bind_listener
from pdpanel.engine.router.config import HealthConfig, RetryConfig, Role, RouterConfig, parse_worker_url
from pdpanel.engine.router.process import serve

DEADLINE_S = 10.0
FAST_RETRY = RetryConfig(max_retries=3, initial_backoff_ms=1, max_backoff_ms=5)
FAST_HEALTH = HealthConfig(interval=0.05, startup_interval=0.01, failure_threshold=2, success_threshold=1)


async def until(claim: Callable[[], bool]) -> None:
    """Waits until `claim` holds; fails after the deadline."""

    async def ask() -> bool:
        return claim()

    await eventually(ask)


async def eventually(claim: Callable[[], Awaitable[bool]]) -> None:
    """Waits until `claim` holds; fails after the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not await claim():  # noqa: ASYNC110 (what is waited for is in other processes, too)
            await asyncio.sleep(0.002)


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Runs an async test to its end, within a deadline."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


class Call:
    """One POST that a stub got, and the ways to answer it."""

    def __init__(self, request: web.Request, body: dict[str, Any]) -> None:
        self.request = request
        self.body = body
        self.headers = request.headers
        self.cancelled = False
        self.ended = False
        self.response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})

    @property
    def numbered(self) -> bool:
        return "x-pdpanel-attempt" in self.headers

    async def event(self, number: int, data: object, *token_ids: int) -> None:
        """Sends one event, and the ids of its tokens as the bundled workers do."""
        if not self.response.prepared:
            await self.response.prepare(self.request)
        ids = " " + ",".join(map(str, token_ids)) if token_ids else ""
        line = f"id: {number}{ids}\n" if self.numbered else ""
        await self.response.write(f"{line}data: {json.dumps(data)}\n\n".encode())

    async def error(self, code: int, message: str = "scripted") -> None:
        """Sends an error event and ends the stream."""
        if not self.response.prepared:
            await self.response.prepare(self.request)
        error = {"error": {"message": message, "type": "scripted", "code": code}}
        await self.response.write(f"data: {json.dumps(error)}\n\ndata: [DONE]\n\n".encode())

    async def done(self) -> web.StreamResponse:
        """Ends the stream well."""
        if not self.response.prepared:
            await self.response.prepare(self.request)
        await self.response.write(b"data: [DONE]\n\n")
        return self.response

    def die(self) -> web.StreamResponse:
        """Drops the connection, as a killed worker does."""
        assert self.request.transport is not None
        self.request.transport.abort()
        return self.response


def refuse(status: int, message: str = "scripted", **headers: str) -> web.Response:
    """An error answer."""
    error = {"error": {"message": message, "type": "scripted", "code": status}}
    return web.json_response(error, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})


Script = Callable[[Call], Awaitable[web.StreamResponse]]


class Stub:
    """A worker that does what its `script` says."""

    def __init__(self, role: Role, script: Script) -> None:
        self.role = role
        self.script = script
        self.calls: list[Call] = []
        self.aborts: list[dict[str, Any]] = []
        self.posts: list[tuple[str, str | None]] = []
        self.well = True
        self.bundled = True
        self.stopped = False
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        for route in ("/generate", "/v1/completions", "/v1/chat/completions"):
            app.router.add_post(route, self._serve)
        app.router.add_get("/health", self._health)
        app.router.add_post("/abort_request", self._abort)
        app.router.add_post("/flush_cache", self._flush)
        app.router.add_get("/v1/models", self._tell)
        app.router.add_get("/model_info", self._tell)
        app.router.add_get("/server_info", self._tell)
        app.router.add_get("/get_load", self._tell)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0 if not self.url else int(self.url.rpartition(":")[2]))
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        call = Call(request, await request.json())
        self.calls.append(call)
        try:
            return await self.script(call)
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        finally:
            call.ended = True

    async def _health(self, _: web.Request) -> web.Response:
        if self.stopped:  # as after SIGSTOP: the connection is there, but no answer
            await asyncio.Event().wait()
        if not self.well:
            return web.Response(status=503)
        return web.json_response({"status": "ok"}) if self.bundled else web.Response()

    async def _abort(self, request: web.Request) -> web.Response:
        self.aborts.append(await request.json())
        return web.json_response({"aborted": True})

    async def _flush(self, request: web.Request) -> web.Response:
        self.posts.append((request.path_qs, request.headers.get("Authorization")))
        return web.json_response({"success": True})

    async def _tell(self, request: web.Request) -> web.Response:
        said = {"role": self.role.value, "path": request.path, "api_key": "secret", "internal_states": [{"n": 1}]}
        return web.json_response(said)


def token(number: int) -> dict[str, Any]:
    """The data of the k-th completion token."""
    return {"token": number}


async def prefill_script(call: Call) -> web.StreamResponse:
    """The first token, then the end."""
    if not call.body.get("stream"):
        return web.json_response({"prefill": True})
    await call.event(1, token(1))
    return await call.done()


async def decode_script(call: Call) -> web.StreamResponse:
    """Three tokens and the finish, or one JSON answer."""
    if not call.body.get("stream"):
        return web.json_response({"text": "abc", "room": call.body.get("bootstrap_room")})
    for number in (1, 2, 3):
        await call.event(number, token(number))
    await call.event(4, {"finish": "stop"})
    return await call.done()


ANSWER = [token(1), token(2), token(3), {"finish": "stop"}, "[DONE]"]


async def hang(call: Call) -> web.StreamResponse:
    """Never answers."""
    await asyncio.Event().wait()
    return call.response


async def events_of(response: ClientResponse) -> list[Any]:
    """All data of a stream: JSON values and `[DONE]`; fails on any other line."""
    return [_value(line) async for line in lines_of(response)]


async def lines_of(response: ClientResponse) -> AsyncIterator[bytes]:
    """The non-empty lines of a stream."""
    async for line in response.content:
        if stripped := line.rstrip(b"\n"):
            yield stripped


def _value(line: bytes) -> Any:
    assert line.startswith(b"data: "), line
    return "[DONE]" if line == b"data: [DONE]" else json.loads(line[6:])


class Cluster:
    """Stubs, a router in front of them, and a client of that router."""

    def __init__(self, stubs: Sequence[Stub], url: str, client: ClientSession, stop: asyncio.Event) -> None:
        self.stubs = stubs
        self.url = url
        self.client = client
        self.stop = stop

    def of(self, role: Role) -> list[Stub]:
        return [stub for stub in self.stubs if stub.role is role]

    @property
    def prefill(self) -> Stub:
        return self.of(Role.PREFILL)[0]

    @property
    def decode(self) -> Stub:
        return self.of(Role.DECODE)[0]

    def generate(self, *, route: str = "/generate", stream: bool = True, headers: dict[str, str] | None = None, **more):
        body = {"text": "hi", "stream": stream, **more}
        return self.client.post(self.url + route, json=body, headers=headers)

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.client.get(self.url + path) as response:
            text = await response.text()
            return response.status, json.loads(text) if text.startswith(("{", "[")) else text

    async def workers(self) -> list[dict[str, Any]]:
        """What the router says of its workers."""
        return (await self.get("/workers"))[1]["workers"]

    async def is_ready(self) -> bool:
        return (await self.get("/readiness"))[0] == 200

    async def is_open(self) -> bool:
        try:
            return (await self.get("/health"))[0] == 200
        except ClientConnectorError:
            return False


@asynccontextmanager
async def cluster(
    *,
    prefill: Sequence[Script] = (prefill_script,),
    decode: Sequence[Script] = (decode_script,),
    unified: Sequence[Script] = (),
    well: bool = True,
    ready: bool = True,
    **settings: Any,
) -> AsyncIterator[Cluster]:
    """Runs one stub per script and a router with `settings` (of RouterConfig) in front of them."""
    if unified:
        prefill = decode = ()
    stubs = [
        Stub(role, script)
        for role, scripts in ((Role.PREFILL, prefill), (Role.DECODE, decode), (Role.UNIFIED, unified))
        for script in scripts
    ]
    async with AsyncExitStack() as stack:
        for stub in stubs:
            stub.well = well
            await stub.start()
            stack.push_async_callback(stub.stop)
        config = RouterConfig(
            workers=tuple(
                parse_worker_url("--url", stub.url, stub.role, 8998 if stub.role is Role.PREFILL else None)
                for stub in stubs
            ),
            health=FAST_HEALTH,
            retry=FAST_RETRY,
            shutdown_grace=0.05,
        )
        listener = bind_listener("--port", "127.0.0.1", 0)
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(replace(config, **settings), stop, [listener]))

        async def end() -> None:
            stop.set()
            await serving

        stack.push_async_callback(end)
        client = ClientSession(timeout=ClientTimeout(total=DEADLINE_S), connector=TCPConnector(limit=0))
        await stack.enter_async_context(client)
        made = Cluster(stubs, f"http://127.0.0.1:{listener.getsockname()[1]}", client, stop)
        await eventually(made.is_open)
        if ready:
            await eventually(made.is_ready)
        yield made
