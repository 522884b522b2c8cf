"""The client's side of a streamed answer: opened by its first byte, written whole events at a time, ended once.

Both halves of a pair write to it, over all tries. What the merge has given out is sent, whoever is cancelled meanwhile:
a later try leaves it out. Knows nothing of workers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from ..errors import PdpanelError
from .events import DONE, Event
from .failure import ClientGoneError, error_event
from .life_cycle import Event as LifeEvent
from .life_cycle import Life, State
from .logprobs import LogprobJoin
from .merge import Merge

__all__ = ["ClientStream"]


class ClientStream:
    """One client's event stream.

    Args:
        life: the request's; moved on by the first bytes.
        on_first: called with the seconds from the first event's arrival until it was written.
        join: joins prefill's input logprobs with decode's; None leaves events as they are.

    Attributes:
        merge: decides what is sent of each half's events.
        decode_streams: set by decode's first event.
    """

    def __init__(
        self,
        request: web.Request,
        request_id: str,
        life: Life,
        on_first: Callable[[float], None],
        join: LogprobJoin | None = None,
    ) -> None:
        self._request = request
        self._life = life
        self._on_first = on_first
        self._join = join
        self._pending = bytearray()
        self._writing = asyncio.Lock()
        self._ended = False
        self.merge = Merge()
        self.decode_streams = asyncio.Event()
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-cache",
                "X-Accel-Buffering": "no",
                "x-request-id": request_id,
            }
        )

    @property
    def started(self) -> bool:
        """Whether the client has, or is about to have, events."""
        return self._life.started

    def begin_attempt(self) -> None:
        """Makes it ready for the events of another try."""
        self.merge.begin_attempt()
        self.decode_streams.clear()

    async def relay_prefill(self, events: list[Event]) -> None:
        """Sends what the client needs of prefill's `events`."""
        if self._join is not None:
            self._join.learn(events)
        take = self.merge.from_prefill
        await self._write(b"".join([take(event) for event in events]))

    async def relay_decode(self, events: list[Event]) -> None:
        """Sends what the client needs of decode's `events`."""
        if self._join is not None:
            events = [self._join.joined(event) for event in events]
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
        self._ended = True
        self._pending += payload
        await self._flush()
        try:
            await self.response.write_eof()
        except ConnectionError as error:
            raise ClientGoneError("The client closed its connection.") from error

    async def _write(self, payload: bytes) -> None:
        if not payload or self._ended:
            return
        arrived = 0.0
        if self._life.state is State.DISPATCHED:
            arrived = time.perf_counter()
            self._life.on(LifeEvent.BEGIN)
        self._pending += payload
        await self._flush()
        if arrived:
            self._on_first(time.perf_counter() - arrived)

    async def _flush(self) -> None:
        try:
            async with self._writing:
                if not self.response.prepared:
                    await self.response.prepare(self._request)
                if self._pending:
                    # Nothing is awaited between these lines and the transport: a cancelled writer has written all.
                    payload = bytes(self._pending)
                    self._pending.clear()
                    await self.response.write(payload)
        except ConnectionError as error:
            raise ClientGoneError("The client closed its connection.") from error
