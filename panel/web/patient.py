"""HTTP/1.1 on the panel's port, for clients that keep their word.

uvicorn waits for the head of a request as long as its client likes; here one that sends nothing, or a head that does
not end, is hung up on. The size of a head is limited by h11. Called by `serve`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEAD_BYTES", "PatientProtocol"]

HEAD_BYTES = 32 << 10
_HEAD_TIMEOUT_S = 20.0


class PatientProtocol(H11Protocol):
    """One connection; hung up on when a head takes longer than `head_timeout_s`."""

    head_timeout_s = _HEAD_TIMEOUT_S
    _hang_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Takes bytes; a head that began must end in time."""
        super().data_received(data)
        if self._is_at_work():
            self._stop_waiting()
        elif self._hang_up is None:
            self._wait_for_head()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hands the connection over to a WebSocket, which has its own rules."""
        self._stop_waiting()
        super().handle_websocket_upgrade(event)
        self._handed_over = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    _handed_over = False

    def _is_at_work(self) -> bool:
        return self._handed_over or (self.cycle is not None and not self.cycle.response_complete)

    def _wait_for_head(self) -> None:
        self._hang_up = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _give_up(self) -> None:
        self._hang_up = None
        if not self._is_at_work():
            self.transport.close()

    def _stop_waiting(self) -> None:
        if self._hang_up is not None:
            self._hang_up.cancel()
            self._hang_up = None
