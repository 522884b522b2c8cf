"""The thread behind a link: takes writes in order and settles their tickets."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

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
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """True from the moment on when `close` was called."""
        return self._closed.is_set()

    def put(self, segments: Sequence[Segment]) -> WriteTicket:
        """Queues a write."""
        ticket = WriteTicket(sum(segment.length for segment in segments))
        if self.closed:
            ticket.fail("the link is closed", quiesced=True)
        else:
            self._pending.put((tuple(segments), ticket))
        return ticket

    def close(self) -> None:
        """Fails what has not begun and waits for the write that runs."""
        self._closed.set()
        self._pending.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (entry := self._pending.get()) is not None:
            segments, ticket = entry
            if self.closed:
                ticket.fail("the link was closed before the write began", quiesced=True)
            else:
                self._execute(segments, ticket)
        while not self._pending.empty():
            if (entry := self._pending.get()) is not None:
                entry[1].fail("the link was closed before the write began", quiesced=True)
