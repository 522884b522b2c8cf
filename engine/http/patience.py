"""How long a server bears clients that are slow on purpose: headers or bodies byte by byte, answers that nobody reads.

aiohttp itself waits for all of them for ever. A watch looks at the open connections once in a while and cuts those
whose time is over; nothing is told to them. Worker, router and bootstrap server make their runners here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

__all__ = ["Limits", "patient_runner"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds after which a connection is cut.

    Attributes:
        first_request_s: until the headers of the first request are complete.
        next_request_s: from an answer's end until the headers of the next request are complete (keep-alive).
        body_s: until a request's body is complete.
        unread_s: while the client takes nothing of what is there for it, buffers of the system aside.
        look_s: between two looks at the connections.
    """

    first_request_s: float = 10.0
    next_request_s: float = 75.0
    body_s: float = 60.0
    unread_s: float = 60.0
    look_s: float = 1.0


_DEFAULT = Limits()
_WAITING = "waiting"


def patient_runner(app: web.Application, limits: Limits = _DEFAULT, **settings: Any) -> web.AppRunner:
    """Returns a runner for `app` whose connections are watched while it is set up.

    Args:
        settings: those of `web.AppRunner`; without a logger, junk that is no HTTP is not logged.
    """
    watch = _Watch(limits)
    app.middlewares.insert(0, watch.note)
    if "logger" not in settings:
        settings["logger"] = logging.getLogger(f"{__name__}.server")
        settings["logger"].addFilter(_is_ours)
    runner = web.AppRunner(app, keepalive_timeout=limits.next_request_s, **settings)

    async def keep(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(watch.run(runner), name="connections")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app.cleanup_ctx.append(keep)
    return runner


def _is_ours(line: logging.LogRecord) -> bool:
    """False for the traceback that aiohttp logs when somebody, such as a gRPC probe, sends no HTTP/1.1."""
    error = line.exc_info[1] if line.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


@dataclass(slots=True)
class _Seen:
    """What was seen of one connection: whether it had a request yet, what it waits for and since when."""

    since: float
    unread_since: float
    served: bool = False
    phase: str = ""
    unsent: int = 0


class _Watch:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests: dict[object, web.BaseRequest] = {}
        self._seen: dict[object, _Seen] = {}

    @web.middleware
    async def note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Knows of each connection whether it is at work, and on what."""
        connection = request.protocol
        self._requests[connection] = request
        try:
            return await handler(request)
        finally:
            self._requests.pop(connection, None)
            now = time.monotonic()
            seen = self._seen.setdefault(connection, _Seen(now, now))
            seen.served, seen.phase, seen.since = True, _WAITING, now

    async def run(self, runner: web.AppRunner) -> None:
        while True:
            await asyncio.sleep(self._limits.look_s)
            connections = runner.server.connections if runner.server is not None else []
            for connection in self._seen.keys() - set(connections):
                del self._seen[connection]
            for connection in connections:
                transport = connection.transport
                if transport is not None and self._is_over(connection, transport, time.monotonic()):
                    transport.abort()

    def _is_over(self, connection: object, transport: asyncio.Transport, now: float) -> bool:
        seen = self._seen.setdefault(connection, _Seen(now, now))
        request, limits = self._requests.get(connection), self._limits
        unsent = transport.get_write_buffer_size()
        if not unsent or unsent < seen.unsent:
            seen.unread_since = now
        seen.unsent = unsent
        if now - seen.unread_since > limits.unread_s:
            return True
        if request is None:
            phase, limit = _WAITING, limits.next_request_s if seen.served else limits.first_request_s
        else:
            phase, limit = ("working", float("inf")) if request.content.is_eof() else ("body", limits.body_s)
        if phase != seen.phase:
            seen.phase, seen.since = phase, now
        return now - seen.since > limit
