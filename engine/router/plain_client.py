"""A plain request, read by llhttp from bytes that hold all of it. `front` says what plain is, and serves it."""

from __future__ import annotations

import asyncio
from typing import Protocol

import httptools

__all__ = ["Connection", "PlainClient", "read_request"]

# A body that is not what it seems, or an answer that is wanted before it is sent.
_UNUSUAL = frozenset({"transfer-encoding", "content-encoding", "expect", "upgrade"})


class Connection(Protocol):
    """What a plain request came on."""

    transport: asyncio.Transport | None
    is_full: bool

    async def drained(self) -> None:
        """Returns when the client has read enough, or has left."""
        ...


class PlainClient:
    """One plain request."""

    takes_chunks = True

    def __init__(self, connection: Connection, path: str) -> None:
        self._connection = connection
        self._body: list[bytes] = []
        self.path = path
        self.stays = True
        self.headers: dict[str, str] = {}
        self.is_whole = False

    def header(self, name: str) -> str:
        """Returns the value of a header."""
        return self.headers.get(name, "")

    async def body(self) -> bytes:
        """Returns the whole body."""
        return b"".join(self._body)

    @property
    def transport(self) -> asyncio.WriteTransport | None:
        """The connection."""
        return self._connection.transport

    @property
    def is_full(self) -> bool:
        """True while it has not read enough."""
        return self._connection.is_full

    async def drained(self) -> None:
        """Returns when it has read enough, or has left."""
        await self._connection.drained()

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line; several of a name are joined, which no check accepts."""
        key, text = name.lower().decode("latin-1"), value.decode("utf-8", "surrogateescape")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.is_whole = True


def read_request(data: bytes, path: str, connection: Connection) -> PlainClient | None:
    """Returns the request that `data` is; None when it is not plain."""
    request = PlainClient(connection, path)
    parser = httptools.HttpRequestParser(request)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    if not request.is_whole or not _UNUSUAL.isdisjoint(request.headers):
        return None
    request.stays = "close" not in request.header("connection").lower()
    return request
