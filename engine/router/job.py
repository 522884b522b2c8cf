"""A client's request as workers need it, and the ends of its tries that nobody waits for.

Made by `relay`, passed through `tries` to each `attempt`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from .body import Body
from .half import Half
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
        self._left: dict[Half, asyncio.TimerHandle] = {}

    def adopt(self, half: Half) -> None:
        """Lets `half` end by itself, within a limit; how it ends no longer matters."""
        if half.is_over:
            return
        self._left[half] = asyncio.get_running_loop().call_later(_PREFILL_END_S, half.close)

        def end() -> None:
            if half.is_over and (timer := self._left.pop(half, None)) is not None:
                timer.cancel()

        half.on_change = end

    def stop(self) -> None:
        """Closes what is left."""
        for half in list(self._left):
            half.close()


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Ends `tasks` and waits for that; how they end does not matter."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
