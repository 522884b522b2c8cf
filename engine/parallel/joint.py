"""Several writes that count as one: those of a rank to several peers' ranks, or those of all ranks of a group.

Ended when the last of them has; done when all are, quiet when all are: a single one that may still touch memory keeps
the pages of all. Knows no transports; `carrier` and `carriers` use it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial

from .head_sums import added
from .orders import Written

__all__ = ["Done", "Joint", "failed", "nothing"]

Done = Callable[[Written], None]


def failed(ticket: int, rank: int, error: str, *, quiet: bool) -> Written:
    """Returns the end of a write that carried nothing."""
    return Written(ticket, rank, False, quiet, error, 0, 0.0, 0)


def nothing(ticket: int, rank: int) -> Written:
    """Returns the end of a write that had nothing to carry."""
    return Written(ticket, rank, True, True, "", 0, 0.0, 0)


class Joint:
    """Waits for the ends of its members' writes. Thread-safe.

    Args:
        ticket: of the whole.
        rank: that the whole is told of as.
        members: what each part goes by.
        done: takes the whole, once, on the thread that brings the last part.
    """

    def __init__(self, ticket: int, rank: int, members: Iterable[int], done: Done) -> None:
        self._ticket = ticket
        self._rank = rank
        self._awaited = set(members)
        self._done = done
        self._parts: list[Written] = []
        self._lock = threading.Lock()
        assert self._awaited

    @classmethod
    def split(cls, ticket: int, rank: int, count: int, done: Done) -> list[Done]:
        """Returns what takes the ends of `count` parts; where there is one, it is the whole."""
        if count == 1:
            return [done]
        joint = cls(ticket, rank, range(count), done)
        return [partial(joint.add, number) for number in range(count)]

    def add(self, member: int, written: Written) -> None:
        """Takes the end of a member's write; what comes again, or of a stranger, is passed over."""
        with self._lock:
            if member not in self._awaited:
                return
            self._awaited.remove(member)
            self._parts.append(written)
            if self._awaited:
                return
        self._done(self._whole())

    def _whole(self) -> Written:
        parts = self._parts
        return Written(
            self._ticket,
            self._rank,
            all(part.ok for part in parts),
            all(part.quiet for part in parts),
            next((part.error for part in parts if part.error), ""),
            sum(part.bytes for part in parts),
            max(part.seconds for part in parts),
            sum(part.writes for part in parts),
            added([part.digest for part in parts]),
        )
