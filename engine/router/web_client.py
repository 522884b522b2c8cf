"""A client's POST that aiohttp serves, as the relay wants to see it."""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from .client import Client, answer_headers
from .failure import Answer, TooLargeError

__all__ = ["WebClient", "Written", "respond"]


def respond(answer: Answer, request_id: str = "") -> web.Response:
    """Returns the response that carries `answer`."""
    return web.Response(status=answer.status, body=answer.body, headers=answer_headers(answer, request_id))


class WebClient:
    """One request."""

    def __init__(self, request: web.Request, most_bytes: int) -> None:
        self._request = request
        self._most_bytes = most_bytes
        self.path = request.path
        self.takes_chunks = request.version >= HttpVersion11
        # Without chunks only the end of the connection ends a stream.
        self.stays = self.takes_chunks and request.keep_alive

    def header(self, name: str) -> str:
        """Returns the value of a header."""
        return self._request.headers.get(name, "")

    async def body(self) -> bytes:
        """Returns the whole body.

        Raises:
            TooLargeError: it is too long.
        """
        try:
            return await self._request.read()
        except web.HTTPRequestEntityTooLarge:
            raise TooLargeError(self._most_bytes) from None

    @property
    def transport(self) -> asyncio.WriteTransport | None:
        """The connection."""
        return self._request.transport

    @property
    def is_full(self) -> bool:
        """True while it has not read enough."""
        return self._request.protocol.writing_paused

    async def drained(self) -> None:
        """Returns when it has read enough, or has left."""
        try:
            await self._request.writer.drain()
        except ConnectionError:
            return  # Its request is told.


class Written(web.StreamResponse):
    """Stands for an event stream that has been written to the connection already."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._keep_alive = client.stays

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Writes nothing."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Writes nothing."""
