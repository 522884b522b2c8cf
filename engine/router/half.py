"""One worker's part of a try: asks it, hands its events to the client's stream as they come, and is over once.

No task and no queue lies between the worker's socket and the client's: what arrives is relayed before the event loop
does anything else. When the client reads too slowly, the worker's socket is not read either. What the end of a half
means for the request is `attempt`'s business.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

from ..errors import PdpanelError
from .connection import WorkerConnection
from .events import EventCutter
from .failure import Answer, WorkerError, event_failure, unreachable
from .lifeline import Lifelines
from .pool import Pool
from .stream import ClientStream
from .workers import Worker

__all__ = ["Half"]


def _nothing() -> None:
    """Takes no notice."""


class Half:
    """One request to one worker.

    Args:
        stream: where events go; None for a whole answer.
        decides: True for decode's half or a unified worker's: its end is the request's.
        on_change: called when it is over, and when its first events came.

    Attributes:
        is_sent: the worker has the request.
        is_over: nothing more comes, for one reason or another.
        failure: why it failed; None while it has not.
        answer: a whole answer; None when it was streamed.
        has_events: True from its first events on.
    """

    def __init__(
        self,
        pool: Pool,
        lifelines: Lifelines,
        worker: Worker,
        stream: ClientStream | None,
        on_change: Callable[[], None],
        *,
        decides: bool,
    ) -> None:
        self._pool = pool
        self._lifelines = lifelines
        self._stream = stream
        self._decides = decides
        self._clock = asyncio.get_running_loop().time
        self._connection: WorkerConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._request = b""
        self._behind: Half | None = None
        self._next: Half | None = None
        self._cutter: EventCutter | None = None
        self._has_head = False
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._body: list[bytes] = []
        self.worker = worker
        self.on_change = on_change
        self.is_sent = False
        self.is_over = False
        self.failure: Exception | None = None
        self.answer: Answer | None = None
        self.has_events = False

    def start(self, request: bytes, behind: Half | None = None) -> None:
        """Sends the request, once, and not before that of the half `behind` which this one stands."""
        self._request, self._behind = request, behind
        self.worker.active += 1
        self.worker.requests += 1
        self._lifelines.hold(self)
        self._connection = self._pool.take(self.worker.url)
        if self._connection is not None:
            self._send()
        else:
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            self._connection = await self._pool.connect(self.worker.url)
        except (OSError, TimeoutError) as error:
            self._connecting = None
            said = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            self.broke(said.strip().rstrip(".") or type(error).__name__)
        else:
            self._connecting = None
            self._send()

    def _send(self) -> None:
        """Sends the request when there is a connection and its turn has come."""
        if self._connection is None or self.is_over:
            return
        if self._behind is not None and not self._behind.is_sent:
            self._behind._next = self
            return
        if not self._connection.is_open:  # It was lost while this waited for its turn.
            self.broke("it closed the connection")
            return
        self.is_sent = True
        self._connection.send(self._request, self)
        if self._next is not None:
            self._next._send()

    def close(self) -> None:
        """Ends it without a failure; the worker sees that its connection is closed."""
        if not self.is_over:
            self._end()

    def cut(self, reason: str) -> None:
        """Ends it because its worker is given up."""
        self._fail(unreachable(self.worker, reason, began=False))

    # What the connection tells.

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Takes the head of the answer."""
        self.worker.heard_at = self._clock()
        self._has_head, self._status, self._headers = True, status, headers
        is_stream = headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"
        if self._stream is not None and status == 200 and is_stream:
            self._cutter = EventCutter()

    def received(self, data: bytes) -> None:
        """Takes a part of the answer."""
        self.worker.heard_at = self._clock()
        if self._cutter is None:
            self._body.append(data)
            return
        failure: WorkerError | None = None
        events = []
        for event in self._cutter.feed(data):
            if event.is_error:
                failure = event_failure(self.worker, event)
                break
            if not event.is_done:
                events.append(event)
        stream = self._stream
        if events and stream is not None:
            is_first, self.has_events = not self.has_events, True
            try:
                if self._decides:
                    stream.relay_decode(events)
                else:
                    stream.relay_prefill(events)
            except PdpanelError as error:
                self._fail(error)
                return
            if stream.is_full and self._connection is not None and failure is None:
                self._connection.pause()
                stream.when_read(self._resume)
            if is_first:
                self.on_change()
        if failure is not None:
            self._fail(failure)

    def ended(self) -> None:
        """Takes the end of the answer."""
        self._connection = None  # Which may serve another request already.
        if self._cutter is not None:
            if self._cutter.pending:
                self._fail(unreachable(self.worker, "its last event is incomplete", began=True))
            elif self._decides and not self.has_events:
                self._fail(unreachable(self.worker, "its stream was empty", began=True))
            else:
                self._end()
            return
        kind = self._headers.get("content-type", "application/json")
        answer = Answer(self._status, b"".join(self._body), kind, self._headers.get("retry-after", ""))
        if self._status != 200:
            message = f"The {self.worker.role.value} worker at {self.worker.url} answered with status {self._status}."
            self._fail(WorkerError(self.worker, message, answer))
        elif self._decides and self._stream is not None and self._stream.started:
            self._fail(unreachable(self.worker, "no event stream, though one had begun", began=True))
        else:
            self.answer = answer
            self._end()

    def broke(self, reason: str) -> None:
        """Takes the end of the connection."""
        self._connection = None
        self._fail(unreachable(self.worker, reason, began=self._has_head))

    def _resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    def _fail(self, failure: Exception) -> None:
        if not self.is_over:
            self.failure = failure
            self._end()

    def _end(self) -> None:
        self.is_over = True
        self.worker.active -= 1
        self._lifelines.release(self)
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        tell = self.on_change
        # What holds each other would stay until the garbage collector comes.
        self._behind = self._next = None
        self.on_change = _nothing
        tell()
