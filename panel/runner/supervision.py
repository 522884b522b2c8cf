"""What a runner's server and main need of whoever looks after the run's processes.

`runner.supervisor` does that for a run of our own, `runner.watcher` for one that somebody else started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from ...nic_probe.finding import Finding
from ..launch import LaunchPlan
from .sampler import Watched
from .state import RunRecord

__all__ = ["Supervision"]


class Supervision(Protocol):
    """Looks after the processes of one run.

    Attributes:
        ended: set when there is nothing left to do.
        use: tells what the processes use, by series.
        storage: tells what is wrong with the run's directory.
        replanned: hears of each change of the plan.
    """

    ended: asyncio.Event
    use: Callable[[], Mapping[str, float]]
    storage: Callable[[], tuple[Finding, ...]]
    replanned: Callable[[LaunchPlan], Awaitable[None]]

    @property
    def record(self) -> RunRecord:
        """The run as it is now."""
        ...

    def save_if_due(self) -> None:
        """Writes the record again if the disk did not take it."""
        ...

    def watched(self) -> list[Watched]:
        """Returns the processes that can be sampled now."""
        ...

    async def start(self) -> None:
        """Begins, or goes on from where an earlier runner left it."""
        ...

    async def stop(self, progress: Callable[[str], None]) -> None:
        """Ends the run."""
        ...

    async def restart(self, progress: Callable[[str], None]) -> None:
        """Ends all processes and starts them anew."""
        ...

    async def stop_process(self, name: str, progress: Callable[[str], None]) -> None:
        """Ends one process and leaves it ended."""
        ...

    async def restart_process(self, name: str, progress: Callable[[str], None]) -> None:
        """Ends one process if it runs, and starts it anew."""
        ...

    async def change_plan(self, digest: str, progress: Callable[[str], None]) -> None:
        """Goes over to the proposed plan with that digest: starts what is added, ends what is removed."""
        ...

    def leave(self) -> None:
        """Ends the runner alone."""
        ...
