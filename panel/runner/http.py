"""A small GET for asyncio: enough for a worker's readiness and metrics, at a tenth of a library's memory.

`get` asks once; a `KeptConnection` asks again and again over one connection, which costs half. Both are bounded in time
and size, and tell in words what was wrong. Nothing here knows what the answers mean.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

__all__ = ["Answer", "KeptConnection", "get", "send"]

_MAX_BYTES: Final = 4 << 20
_MAX_HEAD: Final = 64 << 10
_CHUNK: Final = 65536


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status and body."""

    status: int
    body: bytes


class _BadAnswerError(Exception):
    """The other side does not speak HTTP as we need it; the text says how, for people."""


@dataclass(frozen=True, slots=True)
class _Target:
    host: str
    port: int
    netloc: str
    path: str
    secure: bool


def _target(url: str) -> _Target:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(parts.hostname or "", parts.port or (443 if secure else 80), parts.netloc, path, secure)


async def get(url: str, timeout_s: float) -> Answer | None:
    """Returns the answer to a GET on `url`, None if there was none within `timeout_s` or it was not HTTP."""
    connection = KeptConnection(url, {"Connection": "close"})
    try:
        answer = await connection.get(timeout_s)
    finally:
        connection.close()
    return answer if isinstance(answer, Answer) else None


async def send(
    method: str, url: str, timeout_s: float, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer | str:
    """Returns the answer to one request with a JSON body, or in a few words why there is none within `timeout_s`."""
    told = {**(headers or {}), "Connection": "close", "Content-Type": "application/json"}
    connection = KeptConnection(url, {**told, "Content-Length": str(len(body))}, method, body)
    try:
        return await connection.get(timeout_s)
    finally:
        connection.close()


class KeptConnection:
    """Asks one URL many times; opens a connection anew when the other side has closed it.

    Args:
        url: http or https; not for several tasks at once.
        headers: sent with each question, besides the usual ones.
        method: of each question.
        body: of each question; its headers are the caller's.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str] | None = None, method: str = "GET", body: bytes = b""
    ) -> None:
        self._method = method
        self._request_body = body
        self._url = url
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, timeout_s: float) -> Answer | str:
        """Returns the answer, or in a few words why there is none within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._get(_target(self._url))
        except TimeoutError:
            self.close()
            return f"no whole answer within {timeout_s:g} s"
        except _BadAnswerError as error:
            self.close()
            return str(error)
        except (OSError, ValueError, asyncio.IncompleteReadError, zlib.error) as error:
            self.close()
            words = error.strerror if isinstance(error, OSError) else ""
            return (words or "the answer breaks off").lower()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets go of the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _get(self, target: _Target) -> Answer:
        fields = f"Host: {target.netloc}\r\nAccept: */*\r\n{self._headers}"
        request = f"{self._method} {target.path} HTTP/1.1\r\n{fields}\r\n".encode("ascii") + self._request_body
        reused = self._streams is not None
        try:
            return await self._ask(target, request)
        except (ConnectionError, asyncio.IncompleteReadError):
            # A kept connection may have been closed meanwhile, which shows only when it is used.
            self.close()
            if not reused:
                raise
        return await self._ask(target, request)

    async def _ask(self, target: _Target, request: bytes) -> Answer:
        if self._streams is None:
            secure = True if target.secure else None
            self._streams = await asyncio.open_connection(target.host, target.port, ssl=secure, limit=_MAX_HEAD)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise _BadAnswerError("the answer does not begin as HTTP does") from None
        status, keep, fields = _head(head)
        body, whole = await _body(reader, fields, status)
        if not (keep and whole):
            self.close()
        encoding = fields.get("content-encoding", "identity").lower()
        if encoding in {"gzip", "deflate"}:
            body = _unpacked(body)
        elif encoding not in {"", "identity"}:
            raise _BadAnswerError(f"the answer is encoded as {encoding[:20]}")
        return Answer(status, body)


def _head(head: bytes) -> tuple[int, bool, Mapping[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split()
    if len(words) < 2 or not words[0].startswith("HTTP/") or not (words[1].isascii() and words[1].isdigit()):
        raise _BadAnswerError("the answer does not begin as HTTP does")
    pairs = (line.partition(":") for line in lines if ":" in line)
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    keep = words[0] == "HTTP/1.1" and fields.get("connection", "").lower() != "close"
    return int(words[1]), keep, fields


async def _body(reader: asyncio.StreamReader, fields: Mapping[str, str], status: int) -> tuple[bytes, bool]:
    """Returns the body, and whether its end was known without the end of the connection."""
    if status in {204, 304}:
        return b"", True
    if "chunked" in fields.get("transfer-encoding", "").lower():
        return await _chunks(reader), True
    length = fields.get("content-length", "")
    if length:
        if not (length.isascii() and length.isdigit()) or len(length) > 18:
            raise _BadAnswerError("the answer does not begin as HTTP does")
        if int(length) > _MAX_BYTES:
            raise _too_long()
        return await reader.readexactly(int(length)), True
    data = bytearray()
    while chunk := await reader.read(_CHUNK):
        data += chunk
        if len(data) > _MAX_BYTES:
            raise _too_long()
    return bytes(data), False


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while True:
        line = (await reader.readuntil(b"\r\n")).split(b";")[0].strip()
        size = int(line, 16)
        if size < 0 or len(data) + size > _MAX_BYTES:
            raise _too_long()
        data += (await reader.readexactly(size + 2))[:-2]
        if size == 0:
            return bytes(data)


def _unpacked(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    text = unpacker.decompress(body, _MAX_BYTES)
    if unpacker.unconsumed_tail:
        raise _too_long()
    return text


def _too_long() -> _BadAnswerError:
    return _BadAnswerError(f"the answer is longer than {_MAX_BYTES >> 20} MiB")
