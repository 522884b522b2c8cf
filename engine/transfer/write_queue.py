"""A link's writes: taken in order by the threads of a pool, their tickets settled whatever happens.

`QueuedLink` is what all transports' links have in common; each of them adds how one write is made.
"""

from __future__ import annotations

import logging
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from ..log import record
from .api import TicketState
from .plan import Segment
from .ticket import WriteTicket
from .write_pool import Write, WritePool

__all__ = ["LATE", "QueuedLink", "WriteQueue"]

LATE = "the time was over up to which the peer's pages may be written"
_CLOSED = "the link was closed before the write began"
# More than the chunks of all requests that a worker runs at once. Each waiting write holds pages of the source: those
# run out long before, and then prefill computes no further until some are free again.
_MOST_WAITING = 4096


class WriteQueue:
    """One link's writes.

    Args:
        pool: whose threads write.
        name: of the link, for the log.
        execute: makes one write and settles its ticket; called on a thread of the pool.
        limit: writes that may wait; one more fails at once, and says why.
    """

    def __init__(
        self, pool: WritePool, name: str, execute: Callable[[Write], None], limit: int = _MOST_WAITING
    ) -> None:
        self._pool = pool
        self._name = name
        self._execute = execute
        self._limit = limit
        self._lane = pool.join(self._run)
        self._shard = self._lane.shard
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        """True from the moment on when `close` was called."""
        return self._closed.is_set()

    def wait_closed(self, timeout_s: float) -> bool:
        """Waits until `close` is called; returns False when it is not within `timeout_s`."""
        return self._closed.wait(timeout_s)

    def put(self, segments: Sequence[Segment], not_after: float | None = None) -> WriteTicket:
        """Queues a write."""
        ticket = WriteTicket(sum(segment.length for segment in segments))
        write = Write(tuple(segments), ticket, math.inf if not_after is None else not_after)
        with self._shard.lock:
            if self.closed:
                problem = "the link is closed"
            elif len(self._lane.waiting) >= self._limit:
                problem = f"{self._limit} writes to this peer wait already"
            else:
                self._shard.put(self._lane, write)
                return ticket
        ticket.fail(problem, quiesced=True)
        return ticket

    def close(self, interrupt: Callable[[], None] | None = None) -> None:
        """Fails what has not begun and waits for the write that runs; `interrupt` is called to hurry it."""
        with self._shard.lock:
            first = not self.closed
            self._closed.set()
            dropped = self._shard.drop(self._lane)
        if first:
            self._pool.leave(self._lane)
        if interrupt is not None:
            interrupt()
        with self._shard.lock:
            # A ticket's callback may close its own link.
            while self._lane.runner not in (None, threading.current_thread()):
                self._shard.settled.wait()
        for write in dropped:
            self._fail(write.ticket, _CLOSED, quiesced=True)

    def _run(self, write: Write) -> None:
        ticket = write.ticket
        try:
            if self.closed:
                ticket.fail(_CLOSED, quiesced=True)
            else:
                self._execute(write)
        except Exception as error:  # a bug, in the transport or in a ticket's callback; later writes still count
            record("write_broke", level=logging.ERROR, link=self._name, error=repr(error))
            if ticket.state is TicketState.PENDING:
                self._fail(ticket, f"the transport broke: {error!r}", quiesced=False)

    def _fail(self, ticket: WriteTicket, problem: str, *, quiesced: bool) -> None:
        try:
            ticket.fail(problem, quiesced=quiesced)
        except Exception as error:  # in a callback
            record("write_broke", level=logging.ERROR, link=self._name, error=repr(error))


class QueuedLink(ABC):
    """A link whose writes wait in a queue; see `api.Link`.

    Args:
        pool: whose threads write.
        name: for the log.
    """

    def __init__(self, pool: WritePool, name: str) -> None:
        self._queue = WriteQueue(pool, name, self._write)

    @property
    def closed(self) -> bool:
        """True from the moment on when `close` was called."""
        return self._queue.closed

    def write(self, segments: Sequence[Segment], not_after: float | None = None) -> WriteTicket:
        """Starts writing; returns at once."""
        return self._queue.put(segments, not_after)

    def close(self) -> None:
        """Ends the link."""
        self._queue.close(self._interrupt)

    def _interrupt(self) -> None:
        """Hurries the write that runs when the link is closed; here it ends soon by itself."""
        return

    @abstractmethod
    def _write(self, write: Write) -> None:
        """Makes one write and settles its ticket; on a thread of the pool."""
