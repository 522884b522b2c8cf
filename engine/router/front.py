"""The short way for plain requests: a POST to one of the relayed routes, whole, with a length, over HTTP/1.1.

Nearly all requests look like this, and aiohttp's server would be a good part of what one costs. So a connection is
read here first. Whatever is not plain (another route or method, no length, chunks, `Expect`, an upgrade, a long head or
body, two requests at once, what is no HTTP) goes to aiohttp, byte for byte and before anything was answered, and the
connection stays there. Streams per second were 1.17 times those without it (`pdpanel bench router`, 64 streams, with
and without in turns, two runs each); the first token came no earlier. So there is one HTTP server with all its rules,
and this file has none of its own but the times that a client may take (`Limits`, as aiohttp's connections have).
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections.abc import Awaitable, Callable
from typing import cast

from ..http.patience import Limits
from .body import ROUTES
from .client import Client, answer_bytes
from .failure import Answer
from .plain_client import PlainClient, read_request

__all__ = ["Front", "FrontDoor", "Reply"]

_MOST_HEAD_BYTES = 8190
# Longer bodies, and what is sent while a request is under way, are for aiohttp.
_MOST_BODY_BYTES = 1 << 20
_ROUTES = {f"POST {route} HTTP/1.1\r\n".encode(): route for route in ROUTES}
_STARTS = tuple(_ROUTES)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,8})[ \t]*\r\n", re.IGNORECASE)

Reply = tuple[Answer | None, str]
"""A whole answer, or None when it was streamed; and the request's id."""
_log = logging.getLogger(__name__)


class FrontDoor:
    """Makes the connections of a listener and watches how long their clients take.

    Args:
        serve: answers a plain request.
        refusal: says why a request is not served, given its route and its headers.
        hand_over: makes what serves a connection that is not plain.
        most_bytes: of a body; longer ones are not plain.
    """

    def __init__(
        self,
        serve: Callable[[Client], Awaitable[Reply]],
        refusal: Callable[[str, Callable[[str], str | None]], Answer | None],
        hand_over: Callable[[], asyncio.Protocol],
        most_bytes: int,
        limits: Limits | None = None,
    ) -> None:
        self.serve = serve
        self.refusal = refusal
        self.hand_over = hand_over
        self.most_bytes = min(most_bytes, _MOST_BODY_BYTES)
        self.connections: set[Front] = set()
        self._limits = limits or Limits()

    def connect(self) -> Front:
        """Returns the protocol of a new connection."""
        return Front(self)

    async def watch(self) -> None:
        """Cuts connections whose clients take too long, until it is cancelled."""
        while True:
            await asyncio.sleep(self._limits.look_s)
            now = time.monotonic()
            for connection in list(self.connections):
                if connection.is_over(now, self._limits):
                    connection.abort()

    def close(self) -> None:
        """Closes all connections once what was written to them is sent."""
        for connection in list(self.connections):
            connection.close()


class Front(asyncio.Protocol):
    """One connection while its requests are plain."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self._buffer = b""
        self._needed = 0
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._served = False
        self._since = self._unread_since = time.monotonic()
        self._unsent = 0
        self._is_paused = False
        self.is_full = False
        self.transport: asyncio.Transport | None = None

    def is_over(self, now: float, limits: Limits) -> bool:
        """True when its client has taken too long: to send a request, or to read the answer."""
        unsent = self.transport.get_write_buffer_size() if self.transport is not None else 0
        if not unsent or unsent < self._unsent:
            self._unread_since = now
        self._unsent = unsent
        if now - self._unread_since > limits.unread_s:
            return True
        if self._task is not None:
            return False
        if self._needed:
            return now - self._since > limits.body_s
        return now - self._since > (limits.next_request_s if self._served else limits.first_request_s)

    def abort(self) -> None:
        """Cuts the connection."""
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """Closes the connection when everything is sent."""
        if self.transport is not None:
            self.transport.close()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Has its transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass.
        self._door.connections.add(self)
        made: socket.socket | None = transport.get_extra_info("socket")
        if made is not None and made.family in (socket.AF_INET, socket.AF_INET6):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Takes what the client sent."""
        self._buffer = self._buffer + data if self._buffer else data
        if self._task is None:
            self._look()
        elif len(self._buffer) > _MOST_HEAD_BYTES and self.transport is not None and not self._is_paused:
            self._is_paused = True  # Until the request under way has its answer.
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        """The client does not read."""
        self.is_full = True

    def resume_writing(self) -> None:
        """It has read."""
        self.is_full = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left."""
        self._door.connections.discard(self)
        self.transport = None
        self._wake()
        if self._task is not None:
            self._task.cancel()

    async def drained(self) -> None:
        """Returns when the client has read enough, or has left."""
        if self.is_full and self.transport is not None:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def _wake(self) -> None:
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def _look(self) -> None:
        """Serves the request in the buffer, waits for the rest of it, or gives the connection away."""
        data = self._buffer
        if not self._needed:
            if not data.startswith(_STARTS) and not any(start.startswith(data) for start in _STARTS):
                self._hand_over()
                return
            end = data.find(b"\r\n\r\n", 0, _MOST_HEAD_BYTES)
            if end < 0:
                if len(data) > _MOST_HEAD_BYTES:
                    self._hand_over()
                return
            length = _LENGTH.search(data, 0, end + 2)
            size = int(length[1]) if length is not None else 0
            if length is None or size > self._door.most_bytes or b"\r\nexpect:" in data[:end].lower():
                self._hand_over()
                return
            self._needed = end + 4 + size
            if len(data) < self._needed:
                self._since = time.monotonic()
        if len(data) < self._needed:
            return
        request = self._request(data) if len(data) == self._needed else None
        if request is None:
            self._hand_over()
            return
        self._buffer, self._needed = b"", 0
        self._task = asyncio.get_running_loop().create_task(self._serve(request))

    def _request(self, data: bytes) -> PlainClient | None:
        path = next(route for start, route in _ROUTES.items() if data.startswith(start))
        return read_request(data, path, self)

    async def _serve(self, request: PlainClient) -> None:
        try:
            refusal = self._door.refusal(request.path, request.headers.get)
            answer, request_id = (refusal, "") if refusal is not None else await self._door.serve(request)
            if answer is not None and self.transport is not None:
                self.transport.write(answer_bytes(answer, request_id, stays=request.stays))
        except asyncio.CancelledError:
            if self.transport is not None:
                self.transport.abort()
            raise
        except Exception:
            _log.exception("%s failed", request.path)
            request.stays = False
        finally:
            self._task = None
        self._go_on(request.stays)

    def _go_on(self, stays: bool) -> None:
        """Waits for the next request, or closes the connection."""
        if self.transport is None:
            return
        if not stays:
            self.transport.close()
            return
        self._served, self._since = True, time.monotonic()
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()
        if self._buffer:
            self._look()

    def _hand_over(self) -> None:
        """Gives the connection, and what was read of it, to aiohttp."""
        transport, data = self.transport, self._buffer
        if transport is None or transport.is_closing():
            return
        self._door.connections.discard(self)
        self.transport, self._buffer = None, b""
        handler = self._door.hand_over()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        if self.is_full:
            handler.pause_writing()
        handler.data_received(data)
