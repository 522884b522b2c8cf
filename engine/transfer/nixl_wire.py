"""What a worker and the process that holds its NIXL agent say to each other: one msgpack message per packet."""

from __future__ import annotations

import msgspec

__all__ = ["Command", "Describe", "Give", "Leave", "Meet", "Post", "Registered", "Report", "Settled", "Started"]


class Describe(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Worker: map the file that comes with this packet, and register it."""

    length: int


class Meet(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Worker: `link` leads to the agent with this metadata."""

    link: int
    metadata: bytes


class Post(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Worker: write (source, target, length) by a link; offsets are absolute on the peer's side.

    Attributes:
        not_after: CLOCK_MONOTONIC seconds from which on it is not begun.
        limit_s: after which it has timed out.
    """

    number: int
    link: int
    segments: list[tuple[int, int, int]]
    not_after: float
    limit_s: float


class Give(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Worker: give this write up."""

    number: int


class Leave(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Worker: the link is closed."""

    link: int


class Started(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Agent: it runs, or why it does not."""

    error: str


class Registered(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Agent: the memory can be written, with this metadata at this address, or why not."""

    name: str
    metadata: bytes
    address: int
    error: str


class Settled(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Agent: a write has ended; `error` is empty when all of it arrived."""

    number: int
    error: str
    quiesced: bool


Command = Describe | Meet | Post | Give | Leave
Report = Started | Registered | Settled
