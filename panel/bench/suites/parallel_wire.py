"""What the `parallel` suite and the processes that move bytes say to each other: one JSON value a line."""

from __future__ import annotations

import msgspec

__all__ = ["Meet", "Move", "Order", "Report"]


class Meet(msgspec.Struct, frozen=True, tag=True):
    """This is where the others are, by number."""

    addresses: tuple[str, ...]


class Move(msgspec.Struct, frozen=True, tag=True):
    """Move what you have for the others, so many times, all of you together.

    Attributes:
        proven: whether each compares what arrived with what was sent.
    """

    times: int
    proven: bool = False


Order = Meet | Move


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to any order, and a process's first word.

    Attributes:
        error: why it cannot be done; empty when it was.
        unavailable: whether that is because something is not installed here.
        address: of this process, at first.
        sent: bytes that left it.
        seconds: until all of it, and all that was for it, had arrived.
    """

    error: str = ""
    unavailable: bool = False
    address: str = ""
    sent: int = 0
    seconds: float = 0.0
