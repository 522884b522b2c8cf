"""A client's request as workers need it, and the ends of its tries that nobody waits for.

Made by `relay`, passed through `tries` to each `attempt`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from .body import Body
from .life_cycle import Life
from .stream import ClientStream

__all__ = ["Background", "Job", "cancel"]

_PREFILL_END_S = 30.0


@dataclass(frozen=True, slots=True)
class Job:
    """A client's request as workers need it.

    Attributes:
        request_id: sent as x-request-id.
        rid: the name under which a worker knows the request.
        authorization: the client's own header.
        stream: where events go; None for a whole answer.
        life: where it stands.
        deadline: when its time is over, on the event loop's clock.
    """

    route: str
    body: Body
    request_id: str
    rid: str
    authorization: str
    stream: ClientStream | None
    life: Life
    deadline: float


class Background:
    """Ends of prefill that nobody waits for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def adopt(self, half: asyncio.Task[Any]) -> None:
        """Lets `half` end by itself, within a limit; how it ends no longer matters."""
        task = asyncio.create_task(self._await_end(half))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _await_end(self, half: asyncio.Task[Any]) -> None:
        try:
            await asyncio.wait({half}, timeout=_PREFILL_END_S)
        finally:
            await cancel(half)

    async def stop(self) -> None:
        """Cancels what is left."""
        await cancel(*self._tasks)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Ends `tasks` and waits for that; how they end does not matter."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
