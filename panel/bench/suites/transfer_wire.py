"""What the `transfer` suite and its processes say to each other: one JSON value a line."""

from __future__ import annotations

import msgspec

__all__ = ["Carry", "Checksum", "Connect", "Lap", "Order", "Report", "Reset"]

Places = tuple[tuple[tuple[int, int, int], ...], ...]
"""Writes; each is (source, target, length) of its segments."""


class Connect(msgspec.Struct, frozen=True, tag=True):
    """To a sender: this is where the receiver is."""

    address: str


class Carry(msgspec.Struct, frozen=True, tag=True):
    """To a sender: make these writes in turn, all of them again and again until the time is over."""

    writes: Places
    seconds: float


class Checksum(msgspec.Struct, frozen=True, tag=True):
    """To both: the CRC-32 of the segments, in order, at their sources or targets."""

    writes: Places
    of_targets: bool


class Reset(msgspec.Struct, frozen=True, tag=True):
    """To a receiver: all its memory is zero."""


class Lap(msgspec.Struct, frozen=True, tag=True):
    """To both: how much processor time since the last report that tells it."""


Order = Connect | Carry | Checksum | Reset | Lap


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to any order, and a process's first word.

    Attributes:
        error: why it cannot be done; empty when it was.
        address: of a receiver, at first.
        size: bytes that were carried.
        seconds: in which they were, without what lies between two writes.
        last_s: of those, the median of the last write of a prompt.
        cpu_s: processor time of the process and its children since its report before.
    """

    error: str = ""
    address: str = ""
    size: int = 0
    seconds: float = 0.0
    last_s: float = 0.0
    cpu_s: float = 0.0
    checksum: int = 0
