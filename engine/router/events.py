"""Server-sent events as bytes: cut out of a stream of chunks, without their `id:` lines, and made for errors.

No JSON is parsed: an event's number comes from its `id:` line. Pure; used by the relay for every chunk, so it copies
as little as it can.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["DONE", "Event", "EventCutter"]

DONE = b"data: [DONE]\n\n"
_ID_LINE = re.compile(rb"^id:[^\n]*(?:\n|\Z)", re.MULTILINE)


class Event(NamedTuple):
    """One event.

    Attributes:
        id: the number of its `id:` line; None without a (numeric) one.
        payload: the event without `id:` lines, closed by an empty line.
        token_ids: what follows the number, as it came: the ids of the tokens that it adds, between commas.
    """

    id: int | None
    payload: bytes
    token_ids: bytes = b""

    @property
    def is_done(self) -> bool:
        """True for the `[DONE]` that ends a stream."""
        return self.payload.startswith(b"data:") and self.payload[5:].strip() == b"[DONE]"

    @property
    def is_error(self) -> bool:
        """True when the data is an object whose first key is `error`, as workers write their errors."""
        return self.payload.startswith((b'data: {"error"', b'data:{"error"'))

    @property
    def is_comment(self) -> bool:
        """True for a keep-alive, which carries no data."""
        return self.payload.startswith(b":") and b"\ndata:" not in self.payload

    @property
    def data(self) -> bytes:
        """What follows the first `data:`."""
        _, _, rest = self.payload.partition(b"data:")
        return rest.partition(b"\n")[0].strip()


def _event(block: bytes) -> Event:
    if block.startswith(b"id:"):
        line, _, rest = block.partition(b"\n")
    elif b"\nid:" in block:
        found = _ID_LINE.search(block)
        line, rest = (found.group().rstrip(b"\n") if found else b"", block)
    else:
        return Event(None, block + b"\n\n")
    if b"id:" in rest:
        rest = _ID_LINE.sub(b"", rest).rstrip(b"\n")
    digits, _, token_ids = line[3:].strip().partition(b" ")
    if not digits.isdigit():
        return Event(None, rest + b"\n\n")
    return Event(int(digits), rest + b"\n\n", token_ids)


class EventCutter:
    """Cuts a stream of chunks into events; keeps what is not complete yet."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def pending(self) -> bool:
        """True when an event has begun and not ended."""
        return bool(self._rest.strip())

    def feed(self, chunk: bytes) -> list[Event]:
        """Returns the events that `chunk` completes, in order."""
        buffer = self._rest + chunk if self._rest else chunk
        if b"\r" in buffer:
            buffer = buffer.replace(b"\r\n", b"\n")
        events: list[Event] = []
        start = 0
        while (end := buffer.find(b"\n\n", start)) >= 0:
            line_end = buffer.find(b"\n", start)
            # As the bundled engine's workers write them: an id line and a data line.
            if buffer.startswith(b"id: ", start) and buffer.find(b"\n", line_end + 1) == end:
                number, _, token_ids = buffer[start + 4 : line_end].partition(b" ")
                if number.isdigit() and buffer.startswith(b"data: ", line_end + 1):
                    events.append(Event(int(number), buffer[line_end + 1 : end + 2], token_ids))
                    start = end + 2
                    continue
            if block := buffer[start:end].strip(b"\n"):
                events.append(_event(block))
            start = end + 2
        self._rest = buffer[start:]
        return events
