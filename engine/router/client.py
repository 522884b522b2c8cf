"""What the relay needs of a client's POST, however it came, and the bytes of the answer.

aiohttp serves most of what comes (`web_client`); the plain requests that are nearly all of the load take the short way
(`front`). An answer is written by one call for each part, straight to the connection: aiohttp's response classes are
coroutines, and cost more than everything else that is done for a token.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

from .failure import Answer, ClientGoneError

__all__ = ["Client", "EventWriter", "answer_bytes", "answer_headers"]

_LAST_CHUNK = b"0\r\n\r\n"


class Client(Protocol):
    """One POST and the connection that it came on.

    Attributes:
        path: one of the routes.
        takes_chunks: True from HTTP/1.1 on.
        stays: whether the connection is kept for another request.
    """

    path: str
    takes_chunks: bool
    stays: bool

    def header(self, name: str) -> str:
        """Returns the value of a header, an empty string without one; `name` is in lower case."""
        ...

    async def body(self) -> bytes:
        """Returns the whole body.

        Raises:
            RequestError: it is too long.
        """
        ...

    @property
    def transport(self) -> asyncio.WriteTransport | None:
        """The connection; None once it is closed."""
        ...

    @property
    def is_full(self) -> bool:
        """True while it has not read enough of what was sent."""
        ...

    async def drained(self) -> None:
        """Returns when it has read enough, or has left."""
        ...


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def answer_headers(answer: Answer, request_id: str = "") -> dict[str, str]:
    """Returns the headers of a whole answer, but for those of the connection."""
    headers = {"Content-Type": answer.content_type}
    if answer.retry_after or answer.status == 503:
        headers["Retry-After"] = answer.retry_after or "1"
    if request_id:
        headers["x-request-id"] = request_id
    return headers


def answer_bytes(answer: Answer, request_id: str, *, stays: bool) -> bytes:
    """Returns a whole answer as it goes over the wire."""
    headers = answer_headers(answer, request_id)
    # A worker wrote some of these; a line break in one would begin another header.
    lines = "".join([f"{name}: {' '.join(value.split())}\r\n" for name, value in headers.items()])
    reason = HTTPStatus(answer.status).phrase if answer.status in HTTPStatus._value2member_map_ else ""
    head = (
        f"HTTP/1.1 {answer.status} {reason}\r\n{lines}Date: {_date(int(time.time()))}\r\n"
        f"Content-Length: {len(answer.body)}\r\n{'' if stays else 'Connection: close' + chr(13) + chr(10)}\r\n"
    )
    return head.encode("utf-8", "surrogateescape") + answer.body


class EventWriter:
    """Writes one event stream.

    Args:
        request_id: told in a header; printable ASCII.

    Attributes:
        has_begun: whether the client has its head.
    """

    def __init__(self, client: Client, request_id: str) -> None:
        self._client = client
        self._request_id = request_id
        self.has_begun = False

    @property
    def is_full(self) -> bool:
        """True while the client has not read enough of what was sent."""
        return self._client.is_full

    async def drained(self) -> None:
        """Returns when the client has read enough, or has left."""
        await self._client.drained()

    def send(self, payload: bytes, *, last: bool = False) -> None:
        """Writes `payload`, and before it the head if it is the first.

        Raises:
            ClientGoneError: the connection is closed.
        """
        transport = self._client.transport
        if transport is None or transport.is_closing():
            raise ClientGoneError("The client closed its connection.")
        if self._client.takes_chunks:
            payload = b"%x\r\n%b\r\n%b" % (len(payload), payload, _LAST_CHUNK if last else b"")
        if not self.has_begun:
            self.has_begun = True
            payload = self._head() + payload
        transport.write(payload)

    def _head(self) -> bytes:
        framing = "Transfer-Encoding: chunked\r\n" if self._client.takes_chunks else ""
        if not self._client.stays:
            framing += "Connection: close\r\n"
        return (
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
            f"X-Accel-Buffering: no\r\nx-request-id: {self._request_id}\r\nDate: {_date(int(time.time()))}\r\n"
            f"{framing}\r\n"
        ).encode()
