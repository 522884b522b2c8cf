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


@dataclass(slots=True)
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
    _size: int = 0
    _pages: int = 0
    _writes: int = 0
    _pending: int = 0
    _ended: bool = False
    _commit: Commit | None = None
    _target: Runs = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """A write is asked for."""
        with self._lock:
            self._pending += 1

    def done(self, *, pages: int, writes: int, size: int, seconds: float) -> None:
        """The oldest write is complete: says so, or sends the commit where that waited for it."""
        with self._lock:
            self._pending -= 1
            self._pages += pages
            self._writes += writes
            self._size += size
            self.seconds += seconds
            if self._commit is None and not self._ended:
                self.tell(self, Arrived(self.room, self._pages))
            else:
                self._release()

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
            self._release()

    def again(self) -> Commit | None:
        """Returns the commit that was sent; None before."""
        with self._lock:
            return None if self._pending or self._ended or self._commit is None else self._complete(self._commit)

    def end(self) -> None:
        """The room is given up: from now on the peer hears nothing of it."""
        with self._lock:
            self._ended = True

    def _release(self) -> None:
        if self._commit is not None and not self._pending and not self._ended:
            self.tell(self, self._complete(self._commit))

    def _complete(self, message: Commit) -> Commit:
        digest = in_order(self.digests, self._target)
        return msgspec.structs.replace(message, pages=self._pages, bytes=self._size, writes=self._writes, digest=digest)
