"""Which events of the two halves of a request the client gets, so that each one comes exactly once and in order.

Prefill's events go out as soon as they come; decode's stream begins with the same ones, told apart by their numbers.
An event without a number (other engines, batches) comes from decode alone. The role chunk of a chat (number 0) holds
no token: it waits for the next event, so that a request can still be tried again. The tokens behind what the client has
are kept, so that another pair can go on behind them. Pure; see `events` for the format.
"""

from __future__ import annotations

import json

from ..errors import RemoteProtocolError
from .events import Event

__all__ = ["Merge"]

# A worker numbers an event by the tokens up to it, the one with the finish reason and the one with the usage one and
# two higher; the last token's id comes with the last of these.
_BEHIND_TOKENS = 2


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
        self._ids: list[bytes] = []
        self._last = b""
        self._all_numbered = True

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
        return self._send(event.id, event)

    def from_decode(self, event: Event) -> bytes:
        """Returns what to send for an event of decode (or of a unified worker); may be nothing.

        Raises:
            RemoteProtocolError: a stream that goes on behind numbered events has events without a number.
        """
        if event.id is None:
            if event.is_comment:
                return event.payload if self.relayed >= 0 else b""
            if self._floor > 0:
                raise RemoteProtocolError("The worker that should continue a stream does not number its events.")
            self._all_numbered = False
            return self._release() + event.payload
        if event.id <= self._floor:
            return b""
        return self._send(event.id, event)

    def finish(self) -> bytes:
        """Returns what is still held back when the stream has ended well."""
        return self._release()

    def replayed_ids(self) -> tuple[int, ...] | None:
        """Returns the tokens that the client has, as far as they are known in a row; None when no try can go on."""
        if not self._all_numbered:
            return None
        try:
            ids = tuple(int(word) for words in self._ids for word in words.split(b","))
        except ValueError:
            return None
        if not max(self.relayed, 0) - _BEHIND_TOKENS <= len(ids) <= max(self.relayed, 0):
            return None
        return None if self.relayed > 0 and not ids and not self._told_end() else ids

    def ending(self, *, with_usage: bool) -> tuple[bool, bool]:
        """Returns whether the client has the event with the finish reason, and whether nothing is missing behind it."""
        is_told = self._told_end()
        is_usage = self._last.startswith(b"data: {") and not self._choices()
        return is_told, is_told and (is_usage or not with_usage)

    def _told_end(self) -> bool:
        return self._all_numbered and bool(self._last) and self._reason() is not None

    def _data(self) -> dict[str, object]:
        try:
            value = json.loads(Event(None, self._last).data)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def _choices(self) -> object:
        data = self._data()
        return data["choices"] if "choices" in data else data.get("meta_info")

    def _reason(self) -> object:
        """Returns the finish reason of the last event; True for one with the usage alone, which stands behind it."""
        found = self._choices()
        if isinstance(found, list):
            if not found:
                return True
            found = found[0]
        return found.get("finish_reason") if isinstance(found, dict) else None

    def _send(self, number: int, event: Event) -> bytes:
        if number == 0 and self.relayed < 0:
            self._held.append(event.payload)
            self._held_id = 0
            return b""
        self.relayed = max(self.relayed, number)
        if event.token_ids:
            self._ids.append(event.token_ids)
        self._last = event.payload
        return self._release() + event.payload if self._held else event.payload

    def _release(self) -> bytes:
        if not self._held:
            return b""
        held = b"".join(self._held)
        self._held.clear()
        self.relayed = max(self.relayed, self._held_id)
        return held
