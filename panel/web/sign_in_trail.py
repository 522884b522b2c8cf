"""Notes sign-ins, sign-outs and wrong passwords in the audit log; of a flood of wrong ones no more than it can hold.

Names that are no user's are left out: people type passwords into the wrong field. Called by the guard.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

from ..audit import Audit, Entry

__all__ = ["SignInTrail"]

_PERIOD_S = 60.0


class SignInTrail:
    """Writes the entries.

    Args:
        audit: where they go; None writes none.
        users: the names that exist.
        most: failures that are written in a minute; the next one that is written tells how many were not.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        audit: Audit | None,
        users: Collection[str] = (),
        most: int = 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._audit = audit
        self._users = frozenset(users)
        self._most = most
        self._clock = clock
        self._begun = clock()
        self._written = 0
        self._left_out = 0

    async def signed_in(self, who: str, address: str) -> None:
        """Notes that somebody came in."""
        await self._write(who, address, "sign-in", "done")

    async def signed_out(self, who: str, address: str) -> None:
        """Notes that somebody went."""
        await self._write(who, address, "sign-out", "done")

    async def failed(self, user: str, address: str, why: str) -> None:
        """Notes a try that did not succeed; `user` is the name as it was typed."""
        now = self._clock()
        if now - self._begun >= _PERIOD_S:
            self._begun, self._written = now, 0
        if self._written >= self._most:
            self._left_out += 1
            return
        self._written += 1
        more = f"; {self._left_out} more like it were not written" if self._left_out else ""
        self._left_out = 0
        who = f"user:{user}" if user in self._users else "an unknown user"
        await self._write(who, address, "sign-in", f"refused: {why}{more}")

    async def _write(self, who: str, address: str, action: str, outcome: str) -> None:
        if self._audit is None:
            return
        entry = Entry(time.time(), who, address, action, "", outcome)
        await asyncio.shield(asyncio.to_thread(self._audit.record, entry))
