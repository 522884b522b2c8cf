"""One browser's end of the hub: what it wants to see, and the bounded queue of what it is told.

Pure but for the queue. A browser says {"select": run or null, "groups": [...], "window_s": seconds}; without groups it
gets all of the run's series. Called by `live` (which hears) and `hub` (which tells).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Subscriber", "Wish", "read_wish"]

_QUEUE_LIMIT = 64
_MOST_GROUPS = 64
_SHORTEST_S = 30.0
_LONGEST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a browser wants of the samples.

    Attributes:
        run: the run; None takes no samples.
        groups: groups of its series; None takes all.
        window_s: how many seconds of the past.
    """

    run: str | None = None
    groups: frozenset[str] | None = None
    window_s: float = _LONGEST_S


def read_wish(said: object) -> Wish:
    """Returns what a browser's message asks for.

    Raises:
        ValueError: it is not understood.
    """
    if not isinstance(said, Mapping) or "select" not in said:
        raise ValueError("no select")
    run, groups, window_s = said["select"], said.get("groups"), said.get("window_s", _LONGEST_S)
    if groups is not None:
        if not isinstance(groups, list) or len(groups) > _MOST_GROUPS:
            raise ValueError("groups")
        groups = frozenset(str(group)[:40] for group in groups)
    if isinstance(window_s, bool) or not isinstance(window_s, int | float) or window_s != window_s:
        raise ValueError("window_s")
    return Wish(run if isinstance(run, str) else None, groups, min(_LONGEST_S, max(_SHORTEST_S, float(window_s))))


class Subscriber:
    """One browser's end of the hub.

    Attributes:
        wish: whose samples it gets.
        dropped: set once its queue overflowed; its socket must close.
        has_history: it was sent what `wish` asks for, and gets what follows.
        has_host: it knows the host's links.
    """

    def __init__(self, limit: int = _QUEUE_LIMIT) -> None:
        self.wish = Wish()
        self.dropped = asyncio.Event()
        self.has_history = False
        self.has_host = False
        self._queue: asyncio.Queue[str] = asyncio.Queue(limit)

    def put(self, message: str) -> None:
        """Queues a message, or drops this subscriber when its queue is full."""
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self.dropped.set()

    async def get(self) -> str:
        """Returns the next message: a JSON array of packets."""
        return await self._queue.get()

    def select(self, wish: Wish) -> None:
        """Chooses what samples follow, beginning with what is held of them."""
        self.wish = wish
        self.has_history = False
