"""Waits for a worker when a role has nobody to ask: one that was killed is back in seconds, and this is no try.

A request that was tried before waits for any worker that is not being removed; a new one only when a worker of the role
was lost a moment ago, and only so many of these. Woken by the table and by the clock of open circuits; `tries` asks.
"""

from __future__ import annotations

import asyncio

from .config import Role
from .workers import WorkerTable

__all__ = ["Vacancies"]


class Vacancies:
    """Everybody who waits for a worker.

    Args:
        roles: those that a request needs.
        longest_s: of one wait; 0 has none.
        most_new: requests never tried that may wait at once.
    """

    def __init__(self, table: WorkerTable, roles: tuple[Role, ...], longest_s: float, most_new: int) -> None:
        self._table = table
        self._roles = roles
        self._longest_s = longest_s
        self._most_new = most_new
        self._new = 0
        self.waiting = 0
        self._ended = False
        self._changed = asyncio.Event()
        table.listen(self._wake)

    def end(self) -> None:
        """Ends all waits, now and for good: the router is about to end."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def limit(self, now: float) -> float:
        """Returns when a wait that begins `now`, on the event loop's clock, is over."""
        return now + self._longest_s

    def is_worth(self, until: float, *, is_new: bool) -> bool:
        """True when a request should wait up to `until` for the roles that have nobody.

        Args:
            is_new: it was never tried.
        """
        if self._ended or asyncio.get_running_loop().time() >= until or (is_new and self._new >= self._most_new):
            return False
        missing = self._table.vacant(self._roles)
        return all(self._table.may_return(role, self._longest_s, lately=is_new) for role in missing)

    async def wait(self, until: float, *, is_new: bool) -> None:
        """Returns when every role has somebody to ask; at `until` and at the end in any case."""
        now = asyncio.get_running_loop().time
        self._new += is_new
        self.waiting += 1
        try:
            while not self._ended and (left := until - now()) > 0 and (missing := self._table.vacant(self._roles)):
                changed = self._changed
                circuit_s = min(self._table.closes_in(role) for role in missing)
                try:
                    async with asyncio.timeout(min(left, circuit_s)):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            self._new -= is_new
            self.waiting -= 1
