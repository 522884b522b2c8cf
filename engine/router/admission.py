"""How many requests are served at once, and the bounded queue before that.

Knows nothing of HTTP or workers; the relay holds a place for each request.
"""

from __future__ import annotations

import asyncio

from ..errors import CapacityError

__all__ = ["Admission"]


class Admission:
    """Places for requests, given out in the order of arrival.

    Args:
        limit: requests at once; None has no limit.
        queue_size: requests that may wait for a place.
        queue_timeout: the longest wait, in seconds.
    """

    def __init__(self, limit: int | None, queue_size: int, queue_timeout: float) -> None:
        self._places = asyncio.Semaphore(limit) if limit is not None else None
        self._limit = limit
        self._queue_size = queue_size
        self._queue_timeout = queue_timeout
        self.waiting = 0
        self.open = 0

    async def enter(self) -> None:
        """Takes a place, which `leave` gives back.

        Raises:
            CapacityError: the queue is full, or no place became free in time.
        """
        if self._places is not None:
            await self._take(self._places)
        self.open += 1

    def leave(self) -> None:
        """Gives a place back."""
        self.open -= 1
        if self._places is not None:
            self._places.release()

    async def _take(self, places: asyncio.Semaphore) -> None:
        if not places.locked():
            await places.acquire()
            return
        if self.waiting >= self._queue_size:
            raise CapacityError(
                f"The router serves {self._limit} requests and {self.waiting} wait (--max-concurrent-requests, "
                "--queue-size); try again later."
            )
        self.waiting += 1
        try:
            async with asyncio.timeout(self._queue_timeout):
                await places.acquire()
        except TimeoutError:
            raise CapacityError(
                f"The request waited {self._queue_timeout:g} s for a place (--queue-timeout-secs); try again later."
            ) from None
        finally:
            self.waiting -= 1
