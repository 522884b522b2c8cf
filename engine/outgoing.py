"""What one room has sent so far, and its commit, which leaves with the end of the room's last write.

The step loop asks for writes and, once the prompt is computed, for the commit; writes end on threads of the transport,
often while the loop is in the middle of another prompt. So that nobody waits for the loop, the commit is held here and
goes out on the thread on which the last write ended. `exchange` uses it; it knows no cores and no channels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from .page_checks import in_order
from .pages import Runs
from .peer.messages import Arrived, Commit

__all__ = ["Outgoing"]


@dataclass(slots=True, eq=False)
class Outgoing:
    """One room's writes. Thread-safe.

    Attributes:
        tell: takes what the peer is to hear, in order; called on the thread that causes it, must not block.
        seconds: the time in writes, without the computing between them.
        digests: in check mode the checksum of each of decode's pages that was written.
        prompt_done_at: time.monotonic() at which the prompt was computed; 0 before.
        begun: whether the first write was given to the transport.
    """

    room: int
    peer: str
    tell: Callable[[Outgoing, Arrived | Commit], None]
    seconds: float = 0.0
    prompt_done_at: float = 0.0
    begun: bool = False
    digests: dict[int, int] = field(default_factory=dict)
    _asked: int = 0  # pages
    _complete: dict[int, int] = field(default_factory=dict)  # first page -> pages, of writes whose forerunners go on
    _arrived: int = 0  # pages, the first ones
    _size: int = 0
    _writes: int = 0
    _pending: int = 0
    _ended: bool = False
    _commit: Commit | None = None
    _target: Runs = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, pages: int) -> int:
        """A write of the next `pages` granted pages is asked for; returns what `done` is to be told."""
        with self._lock:
            self._pending += 1
            self._asked += pages
            return self._asked - pages

    def done(self, place: int, *, pages: int, writes: int, size: int, seconds: float) -> None:
        """The write that began at `place` is complete: tells how far the pages are, or sends the waiting commit."""
        with self._lock:
            self._pending -= 1
            self._writes += writes
            self._size += size
            self.seconds += seconds
            before = self._arrived
            self._complete[place] = pages
            while (more := self._complete.pop(self._arrived, 0)) > 0:
                self._arrived += more
            if self._ended:
                return
            if self._commit is not None and not self._pending:
                self.tell(self, self._finished(self._commit))
            elif self._arrived > before:
                self.tell(self, Arrived(self.room, self._arrived))

    def failed(self) -> None:
        """A write failed: no commit may follow."""
        with self._lock:
            self._pending -= 1
            self._ended = True

    def commit(self, message: Commit, target: Runs) -> None:
        """Sends the commit as soon as all writes that were asked for are complete.

        Args:
            message: its counts and checksums are set then.
            target: the granted pages.
        """
        with self._lock:
            self._commit, self._target = message, target
            if not self._pending and not self._ended:
                self.tell(self, self._finished(message))

    def again(self) -> Commit | None:
        """Returns the commit that was sent; None before."""
        with self._lock:
            return None if self._pending or self._ended or self._commit is None else self._finished(self._commit)

    def end(self) -> None:
        """The room is given up: from now on the peer hears nothing of it."""
        with self._lock:
            self._ended = True

    def _finished(self, message: Commit) -> Commit:
        return msgspec.structs.replace(
            message,
            pages=self._arrived,
            bytes=self._size,
            writes=self._writes,
            digest=in_order(self.digests, self._target),
        )
