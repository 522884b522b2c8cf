"""The client's side of a streamed answer: opened by its first byte, written whole events at a time, ended once.

Both halves of a pair write to it. Knows nothing of workers; until `started`, the request can still be answered in
another way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from ..errors import PdpanelError
from .events import DONE, Event
from .failure import ClientGoneError, error_event
from .merge import Merge

__all__ = ["ClientStream"]


class ClientStream:
    """One client's event stream.

    Args:
        on_first: called with the seconds from the first event's arrival until it was written.

    Attributes:
        merge: decides what is sent of each half's events.
        started: whether bytes have reached the client.
        decode_streams: set by decode's first event.
    """

    def __init__(self, request: web.Request, request_id: str, on_first: Callable[[float], None]) -> None:
        self._request = request
        self._on_first = on_first
        self._opening = asyncio.Lock()
        self._ended = False
        self.merge = Merge()
        self.started = False
        self.decode_streams = asyncio.Event()
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-cache",
                "X-Accel-Buffering": "no",
                "x-request-id": request_id,
            }
        )

    async def relay_prefill(self, events: list[Event]) -> None:
        """Sends what the client needs of prefill's `events`."""
        take = self.merge.from_prefill
        await self._write(b"".join([take(event) for event in events]))

    async def relay_decode(self, events: list[Event]) -> None:
        """Sends what the client needs of decode's `events`."""
        take = self.merge.from_decode
        await self._write(b"".join([take(event) for event in events]))

    async def finish(self) -> None:
        """Ends the stream well."""
        await self._close(self.merge.finish() + DONE)

    async def fail(self, error: PdpanelError) -> None:
        """Ends the stream with an error event."""
        await self._close(error_event(error))

    async def _close(self, payload: bytes) -> None:
        if self._ended:
            return
        await self._write(payload)
        self._ended = True
        try:
            await self.response.write_eof()
        except ConnectionError as error:
            raise ClientGoneError("The client closed its connection.") from error

    async def _write(self, payload: bytes) -> None:
        if not payload or self._ended:
            return
        try:
            if self.started:
                await self.response.write(payload)
                return
            arrived = time.perf_counter()
            async with self._opening:
                if not self.started:
                    await self.response.prepare(self._request)
                    self.started = True
                await self.response.write(payload)
            self._on_first(time.perf_counter() - arrived)
        except ConnectionError as error:
            raise ClientGoneError("The client closed its connection.") from error
