"""One small GET for asyncio: enough for a worker's readiness and metrics, at a tenth of a library's memory.

HTTP/1.0 without keep-alive, so the answer is everything up to the end of the stream. Bounded in time and
size.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Answer", "get"]

_MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status and body."""

    status: int
    body: bytes


async def get(url: str, timeout_s: float) -> Answer | None:
    """Returns the answer to a GET on `url`, None if there was none within `timeout_s` or it was not HTTP."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\nAccept: */*\r\n\r\n".encode("ascii"))
                data = bytearray()
                while chunk := await reader.read(65536):
                    data += chunk
                    if len(data) > _MAX_BYTES:
                        return None
            finally:
                writer.close()
    except (OSError, TimeoutError, UnicodeError):
        return None
    head, found, body = bytes(data).partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split()
    if not found or len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return None
    return Answer(int(words[1]), body)
