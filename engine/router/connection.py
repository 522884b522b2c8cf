"""One HTTP/1.1 connection to a worker: sends a request as bytes, and hands on what comes back without task or queue.

For the requests that are relayed; aiohttp's client, which costs several times as much for each, does everything else
(`upstream.ask`). Whoever listens is called from the event loop as bytes arrive, the bodies of all HTTP chunks that came
together in one call. Knows nothing of events, pairs or tries; `pool` makes and keeps connections, `half` listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, cast

import httptools

__all__ = ["Listener", "WorkerConnection"]

# Of all header lines of an answer together.
_MOST_HEAD_BYTES = 65536


class Listener(Protocol):
    """Who waits for an answer; called in this order, and no more after `ended` or `broke`."""

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Takes the head; names of headers are in lower case."""
        ...

    def received(self, data: bytes) -> None:
        """Takes a part of the body."""
        ...

    def ended(self) -> None:
        """Learns that the body is complete."""
        ...

    def broke(self, reason: str) -> None:
        """Learns that nothing more comes."""
        ...


_Tell = Callable[["WorkerConnection"], None]


class WorkerConnection(asyncio.Protocol):
    """One connection; it has one request at a time.

    Args:
        on_free: called when an answer has ended and another request may be sent.
        on_lost: called once it is closed.

    Attributes:
        is_open: False once it is closed, by either side.
        free_since: for the pool, on the event loop's clock.
    """

    def __init__(
        self, on_free: Callable[[WorkerConnection], None], on_lost: Callable[[WorkerConnection], None]
    ) -> None:
        self._on_free = on_free
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._listener: Listener | None = None
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._head_bytes = 0
        self._status = 0
        self._has_head = False
        self._is_complete = False
        self._is_reusable = True
        self._is_paused = False
        self.is_open = True
        self.free_since = 0.0

    def send(self, request: bytes, listener: Listener) -> None:
        """Sends a whole request; `listener` is told of its answer."""
        assert self._listener is None
        self._listener = listener
        self._headers = {}
        self._head_bytes = 0
        self._has_head = self._is_complete = False
        self._transport.write(request)

    def close(self) -> None:
        """Ends the connection at once; nobody is told."""
        self._listener = None
        self.is_open = False
        self._transport.abort()

    def pause(self) -> None:
        """Reads no more until `resume`; what was read before is handed on."""
        if self.is_open and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads on."""
        if self.is_open and self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Has its transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass.

    def data_received(self, data: bytes) -> None:
        """Takes what the worker sent."""
        listener = self._listener
        if listener is None:
            self.close()  # Nobody asked for anything.
            return
        had_head = self._has_head
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._is_complete:
                self._break(f"what it sent is not HTTP: {error}")
                return
            self._is_reusable = False
        if not self._has_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                self._break("the head of its answer is too long")
            return
        if not had_head:
            listener.answered(self._status, self._headers)
        if self._parts and self._listener is listener:
            parts = self._parts
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            listener.received(body)
        if self._is_complete and self._listener is listener:
            self._end(listener, is_reusable=self._is_reusable)

    def eof_received(self) -> None:
        """The worker sends no more, which ends a body without a length."""
        listener = self._listener
        if listener is not None and self._has_head and not self._has_length():
            self._end(listener, is_reusable=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.is_open = False
        self._on_lost(self)
        if self._listener is not None:
            self._break(str(exc).strip().rstrip(".") if exc is not None and str(exc) else "it closed the connection")

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Something comes; behind a whole answer it is too much."""
        if self._is_complete:
            self._is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        if not self._has_head:  # Behind a body there may be some, too.
            self._headers[name.lower().decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is complete; one of a status below 200 has the real one behind it."""
        if self._is_complete:
            return
        self._status = self._parser.get_status_code()
        self._has_head = self._status >= 200
        if not self._has_head:
            self._headers = {}

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if not self._is_complete:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """The answer is complete."""
        if not self._is_complete:
            self._is_complete = self._has_head
            self._is_reusable = self._parser.should_keep_alive()

    def _has_length(self) -> bool:
        return "content-length" in self._headers or "chunked" in self._headers.get("transfer-encoding", "").lower()

    def _end(self, listener: Listener, *, is_reusable: bool) -> None:
        self._listener = None
        self.resume()
        if is_reusable and self.is_open:
            self._on_free(self)
        else:
            self.close()
        listener.ended()

    def _break(self, reason: str) -> None:
        listener = self._listener
        if self.is_open:
            self.close()
        self._listener = None
        if listener is not None:
            listener.broke(reason)
