"""One-use keys for the panel's page, for places that others may read: a process list, a saved notebook.

Whoever has the token asks for one; the guard takes it once in exchange for the cookie. In memory, bounded, short-lived;
the caller says what time it is.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict

__all__ = ["Tickets"]


class Tickets:
    """The tickets that nobody has used yet.

    Args:
        life_s: how long one can be used.
        most: how many are kept; the oldest goes first.
    """

    def __init__(self, life_s: float = 600.0, most: int = 256) -> None:
        self._life_s, self._most = life_s, most
        self._until: OrderedDict[str, float] = OrderedDict()

    def make(self, now: float) -> str:
        """Returns a fresh ticket."""
        ticket = secrets.token_urlsafe(24)
        self._until[ticket] = now + self._life_s
        while len(self._until) > self._most:
            self._until.popitem(last=False)
        return ticket

    def take(self, ticket: str, now: float) -> bool:
        """Returns True for a ticket that could be used, which it cannot any more from then on."""
        until = self._until.pop(ticket, None)
        return until is not None and now < until
