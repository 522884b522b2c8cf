"""The ticket that all transports use: a small thread-safe future of one write."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .api import TicketState

__all__ = ["WriteTicket"]


class WriteTicket:
    """One write under way; see `api.Ticket`.

    Args:
        size: bytes to be written.
    """

    def __init__(self, size: int) -> None:
        self.state = TicketState.PENDING
        self.error = ""
        self.quiesced = False
        self.bytes = size
        self.seconds = 0.0
        self._began = time.perf_counter()
        self._changed = threading.Condition()
        self._callbacks: list[Callable[[WriteTicket], None]] = []

    def done(self) -> None:
        """All bytes are in the peer's memory."""
        self._settle(TicketState.DONE, "", quiesced=True)

    def fail(self, error: str, *, quiesced: bool) -> None:
        """The write failed; `quiesced` when neither side's memory is touched any more."""
        self._settle(TicketState.FAILED, error, quiesced=quiesced)

    def _settle(self, state: TicketState, error: str, *, quiesced: bool) -> None:
        with self._changed:
            assert self.state is TicketState.PENDING, "a ticket settles once"
            self.seconds = time.perf_counter() - self._began
            self.error, self.quiesced, self.state = error, quiesced, state
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        for callback in callbacks:
            callback(self)

    def wait(self, timeout_s: float) -> bool:
        """Waits until the state is final; returns False when it still is not after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self.state is not TicketState.PENDING, timeout_s)

    def add_done_callback(self, callback: Callable[[WriteTicket], None]) -> None:
        """Calls `callback(ticket)` once the state is final, on the settling thread; at once if it is."""
        with self._changed:
            if self.state is TicketState.PENDING:
                self._callbacks.append(callback)
                return
        callback(self)
