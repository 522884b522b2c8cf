"""How large and how slow a request may be: the guard wraps what the application reads with it.

A body that says that it is too long is refused before a byte of it is read; one that does not say so is cut off where
it passes the limit. Knows no route. Sizes are bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

__all__ = ["MOST_FILE_BYTES", "MOST_HEADERS", "MOST_JSON_BYTES", "BodyLimit", "body_limit_of"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

MOST_JSON_BYTES = 8 << 20
# The route of the Hardware tab says its own, smaller limit in words.
MOST_FILE_BYTES = 72 << 20
MOST_HEADERS = 100
_BODY_TIMEOUT_S = 120.0


def body_limit_of(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Returns the bytes that a body with these headers may have."""
    kinds = [value.partition(b";")[0].strip().lower() for key, value in headers if key == b"content-type"]
    return MOST_FILE_BYTES if kinds == [b"application/octet-stream"] else MOST_JSON_BYTES


class BodyLimit:
    """Reads a body up to `limit` bytes and for `timeout_s` at most.

    Attributes:
        broken: the status to answer with when it passed a limit, 413 or 408; 0 otherwise. The application then sees
            a client that went away.
    """

    def __init__(self, receive: Receive, limit: int, timeout_s: float = _BODY_TIMEOUT_S) -> None:
        self._receive = receive
        self._left = limit
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._done = False
        self.broken = 0

    async def __call__(self) -> Message:
        """Returns the next message of the request."""
        if self.broken:
            return {"type": "http.disconnect"}
        if self._done:
            # Only the end of the connection is waited for, as long as the answer takes.
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self.broken = 408
            return {"type": "http.disconnect"}
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.broken = 413
            return {"type": "http.disconnect"}
        self._done = not message.get("more_body", False)
        return message
