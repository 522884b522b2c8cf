"""The client's side of a streamed answer: opened by its first byte, written whole events at a time, ended once.

Both halves of a pair write to it, over all tries, and at once: what the merge has given out has been sent, and a later
try leaves it out. Knows nothing of workers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..errors import PdpanelError
from .client import Client, EventWriter
from .events import DONE, Event
from .failure import error_event
from .life_cycle import Event as LifeEvent
from .life_cycle import Life, State
from .logprobs import LogprobJoin
from .merge import Merge

__all__ = ["ClientStream"]


class ClientStream:
    """One client's event stream.

    Args:
        life: the request's; moved on by the first bytes.
        on_first: called once the first event was written, with the time.perf_counter() of its arrival.
        join: joins prefill's input logprobs with decode's; None leaves events as they are.

    Attributes:
        merge: decides what is sent of each half's events.
        writer: writes it.
    """

    def __init__(
        self,
        client: Client,
        request_id: str,
        life: Life,
        on_first: Callable[[float], None],
        join: LogprobJoin | None = None,
    ) -> None:
        self._life = life
        self._on_first = on_first
        self._join = join
        self._ended = False
        self._readers: list[Callable[[], None]] = []
        self._reading: asyncio.Task[None] | None = None
        self.merge = Merge()
        self.writer = EventWriter(client, request_id)

    @property
    def started(self) -> bool:
        """Whether the client has events and no end yet."""
        return self._life.started

    @property
    def is_full(self) -> bool:
        """True while the client has to read before more should be sent."""
        return self.writer.is_full

    def when_read(self, go_on: Callable[[], None]) -> None:
        """Has `go_on` called once the client has read enough."""
        self._readers.append(go_on)
        if self._reading is None:
            self._reading = asyncio.create_task(self._await_read())

    async def _await_read(self) -> None:
        await self.writer.drained()
        self._reading = None
        readers, self._readers = self._readers, []
        for go_on in readers:
            go_on()

    def begin_attempt(self) -> None:
        """Makes it ready for the events of another try."""
        self.merge.begin_attempt()

    def relay_prefill(self, events: list[Event]) -> None:
        """Sends what the client needs of prefill's `events`.

        Raises:
            ClientGoneError: the client closed its connection.
        """
        if self._join is not None:
            self._join.learn(events)
        take = self.merge.from_prefill
        self._write(b"".join([take(event) for event in events]))

    def relay_decode(self, events: list[Event]) -> None:
        """Sends what the client needs of decode's `events`.

        Raises:
            ClientGoneError: the client closed its connection.
            RemoteProtocolError: they cannot be joined with those that it has.
        """
        if self._join is not None:
            events = [self._join.joined(event) for event in events]
        take = self.merge.from_decode
        self._write(b"".join([take(event) for event in events]))

    def finish(self) -> None:
        """Ends the stream well.

        Raises:
            ClientGoneError: the client closed its connection.
        """
        self._close(self.merge.finish() + DONE)

    def fail(self, error: PdpanelError) -> None:
        """Ends the stream with an error event.

        Raises:
            ClientGoneError: the client closed its connection.
        """
        self._close(error_event(error))

    def _close(self, payload: bytes) -> None:
        if not self._ended:
            self._ended = True
            self.writer.send(payload, last=True)

    def _write(self, payload: bytes) -> None:
        if not payload or self._ended:
            return
        if self._life.state is State.DISPATCHED:
            arrived = time.perf_counter()
            self._life.on(LifeEvent.BEGIN)
            self.writer.send(payload)
            self._on_first(arrived)
        else:
            self.writer.send(payload)
