"""The thread behind a link: takes writes in order and settles their tickets, whatever happens."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence

from ..log import record
from .api import TicketState
from .plan import Segment
from .ticket import WriteTicket

__all__ = ["WriteQueue"]


class WriteQueue:
    """One link's writes.

    Args:
        name: of the thread.
        execute: makes one write and settles its ticket; called on the thread.
    """

    def __init__(self, name: str, execute: Callable[[Sequence[Segment], WriteTicket], None]) -> None:
        self._execute = execute
        self._pending: queue.SimpleQueue[tuple[Sequence[Segment], WriteTicket] | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()  # nothing may enter the queue behind the None that ends it
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """True from the moment on when `close` was called."""
        return self._closed

    def put(self, segments: Sequence[Segment]) -> WriteTicket:
        """Queues a write."""
        ticket = WriteTicket(sum(segment.length for segment in segments))
        with self._lock:
            if not self._closed:
                self._pending.put((tuple(segments), ticket))
                return ticket
        ticket.fail("the link is closed", quiesced=True)
        return ticket

    def close(self, interrupt: Callable[[], None] | None = None) -> None:
        """Fails what has not begun and waits for the write that runs; `interrupt` is called to hurry it."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._pending.put(None)
        if interrupt is not None:
            interrupt()
        if self._thread is not threading.current_thread():  # a ticket's callback may close its own link
            self._thread.join()

    def _run(self) -> None:
        while (entry := self._pending.get()) is not None:
            segments, ticket = entry
            try:
                if self._closed:
                    ticket.fail("the link was closed before the write began", quiesced=True)
                else:
                    self._execute(segments, ticket)
            except Exception as error:  # a bug, in the transport or in a ticket's callback; later writes still count
                record("write_broke", level=logging.ERROR, link=self._thread.name, error=repr(error))
                if ticket.state is TicketState.PENDING:
                    ticket.fail(f"the transport broke: {error!r}", quiesced=False)
