"""A transport that goes wrong on purpose, around a real one; for tests alone.

It keeps the rules that all transports keep: writes of a link complete in order, a ticket that is quiet is quiet, and
after the hard timeout nothing is written any more. What it breaks is what a network may break.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from .api import Endpoint, EndpointInfo, Link, TicketState, TransferSettings
from .faults import Fault, FaultPlan
from .plan import Segment
from .write_pool import Write, WritePool
from .write_queue import LATE, QueuedLink

__all__ = ["FaultyEndpoint"]

_CLOSED = "the link was closed before the write was complete"


def _half(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Returns the first half of the bytes."""
    left = sum(segment.length for segment in segments) // 2
    half: list[Segment] = []
    for segment in segments:
        half.append(Segment(segment.source, segment.target, min(segment.length, left)))
        left -= half[-1].length
    return tuple(half)


class _FaultyLink(QueuedLink):
    def __init__(
        self,
        inner: Link,
        draw: Callable[[], tuple[Fault, float]],
        settings: TransferSettings,
        pool: WritePool,
        name: str,
    ) -> None:
        self._inner = inner
        self._draw = draw
        self._settings = settings
        self._late: list[threading.Thread] = []
        super().__init__(pool, name)

    def close(self) -> None:
        """Ends the link; late writes that have not begun never will."""
        super().close()
        for thread in self._late:
            if thread is not threading.current_thread():
                thread.join()

    def _interrupt(self) -> None:
        self._inner.close()

    def _write(self, write: Write) -> None:
        fault, delay = self._draw()
        ticket = write.ticket
        match fault:
            case Fault.NONE:
                self._pass_on(write)
            case Fault.DELAY:
                if self._queue.wait_closed(delay):
                    ticket.fail(_CLOSED, quiesced=True)
                elif write.late:
                    ticket.fail(LATE, quiesced=True)
                else:
                    self._pass_on(write)
            case Fault.DROP:
                closed = self._queue.wait_closed(self._settings.limit_s(ticket.bytes))
                ticket.fail(_CLOSED if closed else "the write timed out (on purpose)", quiesced=False)
            case Fault.FAIL:
                ticket.fail("the write failed (on purpose)", quiesced=True)
            case Fault.BREAK | Fault.VANISH:
                quiet = self._attempt(_half(write.segments), write.not_after)
                ticket.fail("the write failed half way (on purpose)", quiesced=quiet and fault is Fault.BREAK)
            case Fault.DUPLICATE:
                self._attempt(write.segments, write.not_after)
                self._pass_on(write)
            case Fault.LATE:
                thread = threading.Thread(target=self._write_late, args=(write, delay), name="faulty late", daemon=True)
                self._late = [*(known for known in self._late if known.is_alive()), thread]
                thread.start()
                ticket.fail("the write failed (on purpose)", quiesced=False)

    def _pass_on(self, write: Write) -> None:
        inner = self._inner.write(write.segments, write.not_after)
        while not inner.wait(self._settings.hard_timeout_s):
            pass  # no transport leaves a ticket pending
        if inner.state is TicketState.DONE:
            write.ticket.done()
        else:
            write.ticket.fail(inner.error, quiesced=inner.quiesced)

    def _attempt(self, segments: Sequence[Segment], not_after: float) -> bool:
        inner = self._inner.write(segments, not_after)
        inner.wait(self._settings.hard_timeout_s)
        return inner.quiesced

    def _write_late(self, write: Write, delay: float) -> None:
        # It stands for bytes that were on their way when the lease ended: the hard timeout alone bounds it.
        end = time.monotonic() + self._settings.hard_timeout_s
        if not self._queue.wait_closed(delay):
            self._attempt(write.segments, end)


class FaultyEndpoint:
    """An endpoint whose writes go wrong as a plan says.

    Args:
        inner: what carries the bytes; closed with this one.
    """

    def __init__(self, inner: Endpoint, plan: FaultPlan, settings: TransferSettings) -> None:
        self.kind = inner.kind
        self._inner = inner
        self._settings = settings
        self._faults = plan.draw()
        self._lock = threading.Lock()
        self._pool = WritePool("faulty", queues=settings.queues, threads=settings.threads)
        self._links: list[_FaultyLink] = []

    @property
    def failure(self) -> str:
        """The transport inside."""
        return self._inner.failure

    def _draw(self) -> tuple[Fault, float]:
        with self._lock:
            return next(self._faults)

    def register(self, address: int, length: int, file: int = -1) -> None:
        """Registers the region with the transport inside."""
        self._inner.register(address, length, file)

    def describe(self) -> EndpointInfo:
        """Returns what a peer needs to connect; it looks like the transport inside."""
        return self._inner.describe()

    def connect(self, info: EndpointInfo) -> _FaultyLink:
        """Opens a link of the transport inside."""
        inner = self._inner.connect(info)
        link = _FaultyLink(inner, self._draw, self._settings, self._pool, f"faulty {info.session}")
        self._links = [*(known for known in self._links if not known.closed), link]
        return link

    def close(self) -> None:
        """Ends links and threads, then the transport inside."""
        for link in self._links:
            link.close()
        self._pool.close()
        self._inner.close()
