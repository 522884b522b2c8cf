"""Looks after a run's directory while the run goes on: logs that grow too long, samples and records that wait.

Remembers what is wrong with the directory now, as findings, and says each once in the journal. The runner's main
starts it; decides nothing about processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from ...nic_probe.finding import Finding
from .journal import Journal
from .log_cap import LogCap
from .storage_findings import log_cut

__all__ = ["Upkeep"]

_PERIOD_S = 2.0


class Upkeep:
    """Keeps the directory of one run in order.

    Args:
        logs: which logs are capped, and where.
        journal: is told of what happens.
        save_record: writes the run's record if it waits to be written.
        period_s: how often it looks.
    """

    def __init__(
        self,
        logs: LogCap,
        journal: Journal,
        save_record: Callable[[], None] = lambda: None,
        period_s: float = _PERIOD_S,
    ) -> None:
        self._period_s = period_s
        self._logs = logs
        self._journal = journal
        self._save_record = save_record
        self._lasting: dict[tuple[str, str], Finding] = {}
        self._waiting: Finding | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the directory now, and what has happened to it, the gravest first."""
        now = () if self._waiting is None else (self._waiting,)
        return (*now, *self._lasting.values())

    def on_samples(self, finding: Finding | None) -> None:
        """Takes what `SampleStore` tells: a finding, or None when rows are written again."""
        if finding is None:
            if self._waiting is not None:
                self._journal.say("storage", text="The samples are written again.")
            self._waiting = None
        elif finding.id == "samples-not-written":
            self._waiting = finding
            self._say(finding)
        else:
            self._lasting[finding.id, finding.subject] = finding
            self._say(finding)

    def on_cut(self, path: Path) -> None:
        """Takes the news that a log was cut."""
        self._journal.say("storage", text=f"{path.name} was longer than {self._logs.cap_bytes} bytes and was cut.")
        finding = log_cut(path, self._logs.cap_bytes)
        self._lasting[finding.id, finding.subject] = finding

    async def run(self) -> None:
        """Looks after it until cancelled."""
        while True:
            await asyncio.sleep(self._period_s)
            for path in await asyncio.to_thread(self._logs.look):
                self.on_cut(path)
            self._save_record()

    def _say(self, finding: Finding) -> None:
        self._journal.say("problem", text=finding.reason, finding=finding.id)
