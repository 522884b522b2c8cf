"""Which events of the two halves of a request the client gets, so that each one comes exactly once and in order.

Prefill's events go out as soon as they come; decode's stream begins with the same ones, told apart by their numbers.
An event without a number (other engines, batches) comes from decode alone. The role chunk of a chat (number 0) holds
no token: it waits for the next event, so that a request can still be tried again. Pure; see `events` for the format.
"""

from __future__ import annotations

from .events import Event

__all__ = ["Merge"]


class Merge:
    """The merged stream of one request, over all its attempts.

    Attributes:
        relayed: the highest number sent, -1 before any.
    """

    def __init__(self) -> None:
        self.relayed = -1
        self._floor = -1
        self._held: list[bytes] = []
        self._held_id = -1

    def begin_attempt(self) -> None:
        """Forgets what was held back; what was sent is not sent again by the next attempt."""
        self._held.clear()
        self._held_id = -1
        self._floor = self.relayed

    def from_prefill(self, event: Event) -> bytes:
        """Returns what to send for an event of prefill; may be nothing."""
        if event.id is None or event.id <= max(self.relayed, self._held_id):
            return b""
        self._floor = max(self._floor, event.id)
        return self._send(event.id, event.payload)

    def from_decode(self, event: Event) -> bytes:
        """Returns what to send for an event of decode (or of a unified worker); may be nothing."""
        if event.id is None:
            if event.is_comment and self.relayed < 0:
                return b""
            return self._release() + event.payload
        if event.id <= self._floor:
            return b""
        return self._send(event.id, event.payload)

    def finish(self) -> bytes:
        """Returns what is still held back when the stream has ended well."""
        return self._release()

    def _send(self, number: int, payload: bytes) -> bytes:
        if number == 0 and self.relayed < 0:
            self._held.append(payload)
            self._held_id = 0
            return b""
        self.relayed = max(self.relayed, number)
        return self._release() + payload if self._held else payload

    def _release(self) -> bytes:
        if not self._held:
            return b""
        held = b"".join(self._held)
        self._held.clear()
        self.relayed = max(self.relayed, self._held_id)
        return held
