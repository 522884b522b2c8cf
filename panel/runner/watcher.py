"""Watches an attached run: processes that somebody else started. It asks and looks, and signals nothing, ever.

Stands where `runner.supervisor` stands for a run of our own, with the same methods, so that server, sampler and main
take either. A process with a URL is ready while its health answers and its role is the one it was attached as; one that
is known by its log alone tells when that grew last. Stopping the run ends the watching.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from ...engine.errors import ConflictError
from ...nic_probe.finding import Finding, Severity
from ..attach.answers import identity_of
from ..attach.fetch import Fetch
from ..attach.key_file import read_key
from ..launch import LaunchPlan, ProcessSpec, Role
from ..rundir import RunDir
from .book import Book
from .journal import Journal
from .lifecycle import ProcessState
from .sampler import Watched
from .state import RunRecord

__all__ = ["Watcher"]

_PERIOD_S: Final = 2.0
_ROLES_EVERY: Final = 15
_CHECKED: Final = frozenset({Role.PREFILL, Role.DECODE, Role.UNIFIED})
# The words of a process that does not do what it did; its state is the one between an end and the next start.
_SILENT: Final = "not answering"
_DETACHED: Final = "detached; its processes were left as they are"
_REMEDY: Final = "use what it was started with, or detach the run"


class Watcher:
    """Watches the processes of one attached run.

    Attributes:
        ended: set when the run was detached or the runner was told to leave.
        use: tells what the processes use, by series.
        storage: tells what is wrong with the run's directory.
        replanned: never called.
    """

    def __init__(self, rundir: RunDir, plan: LaunchPlan, record: RunRecord, journal: Journal) -> None:
        self._rundir = rundir
        self._plan = plan
        self._journal = journal
        self._book = Book(rundir, record, journal)
        self._fetch = Fetch(read_key(rundir))
        self._rounds = 0
        self._roles: dict[str, Role | None] = {}
        self.use: Callable[[], Mapping[str, float]] = dict
        self.storage: Callable[[], tuple[Finding, ...]] = tuple
        self.replanned: Callable[[LaunchPlan], Awaitable[None]] = _nobody
        self.ended = asyncio.Event()

    @property
    def record(self) -> RunRecord:
        """The run as it is now."""
        told, findings = self._book.told(self.use()), self.storage()
        worth = next((finding.reason for finding in findings if finding.severity is not Severity.INFO), "")
        return replace(told, notice=told.notice or worth, findings=findings)

    def save_if_due(self) -> None:
        """Writes the record again if the disk did not take it."""
        if self._book.waits:
            self._book.save()

    def watched(self) -> list[Watched]:
        """Returns the processes whose /metrics can be asked now; of none is the pid known."""
        return [
            Watched(process.name, 0, True)
            for process, spec in zip(self._book.processes, self._plan.processes, strict=True)
            if spec.ready.url and process.state is ProcessState.READY
        ]

    async def start(self) -> None:
        """Watches until the run is detached."""
        self._book.save()
        if self._book.run.stop_asked:
            await self.stop(lambda text: None)
        while not self.ended.is_set():
            await asyncio.gather(*(self._look(spec) for spec in self._plan.processes))
            self._rounds += 1
            try:
                await asyncio.wait_for(self.ended.wait(), _PERIOD_S)
            except TimeoutError:
                continue

    async def stop(self, progress: Callable[[str], None]) -> None:
        """Ends the watching; nothing happens to the processes."""
        if self.ended.is_set():
            return
        self._book.set(stop_asked=True, notice=_DETACHED)
        for process in self._book.processes:
            self._book.change(process.name, state=ProcessState.STOPPED, stage="")
        progress(_DETACHED)
        self._journal.say("detach", since_start_s=self._book.age_s)
        self._leave()

    async def restart(self, progress: Callable[[str], None]) -> None:
        """Refuses: who started the processes restarts them."""
        raise ConflictError("run", self._book.run.id, "was not started here, so it is only watched", _REMEDY)

    async def stop_process(self, name: str, progress: Callable[[str], None]) -> None:
        """Refuses: the process belongs to somebody else."""
        raise ConflictError("process", name, "was not started here, so it is only watched", _REMEDY)

    async def restart_process(self, name: str, progress: Callable[[str], None]) -> None:
        """Refuses: the process belongs to somebody else."""
        raise ConflictError("process", name, "was not started here, so it is only watched", _REMEDY)

    async def change_plan(self, digest: str, progress: Callable[[str], None]) -> None:
        """Refuses: workers are added and removed by whoever started the others."""
        raise ConflictError("run", self._book.run.id, "was not started here, so it is only watched", _REMEDY)

    def leave(self) -> None:
        """Ends the runner alone; a new one goes on watching."""
        self._book.set(left=True)
        self._journal.say("leave")
        self._leave()

    def _leave(self) -> None:
        self._book.save()
        self.ended.set()

    async def _look(self, spec: ProcessSpec) -> None:
        changes = await self._ask(spec) if spec.ready.url else self._log(spec)
        # The answer may come after the run was detached.
        if self.ended.is_set():
            return
        before = self._book.process(spec.name)
        after = changes["state"]
        if after is not before.state:
            self._journal.say("state", process=spec.name, before=before.state, after=after, reason=changes["reason"])
            if after is ProcessState.READY:
                changes["was_ready"] = True
        self._book.change(spec.name, **changes)

    async def _ask(self, spec: ProcessSpec) -> dict[str, object]:
        before = self._book.process(spec.name)
        answer = await self._fetch.get(spec.ready.url)
        if answer.status == 200:
            if role := await self._other_role(spec):
                said = f"it says that its role is {role}, not {spec.role}: it was started anew, or named wrongly"
                return {"state": ProcessState.RESTARTING, "stage": "wrong role", "reason": said}
            return {"state": ProcessState.READY, "stage": "", "reason": ""}
        self._roles.pop(spec.name, None)
        why = answer.problem or f"its health answers with status {answer.status}"
        if not before.was_ready:
            return {"state": ProcessState.STARTING, "stage": f"no answer yet: {why}", "reason": ""}
        if before.stage == _SILENT and before.reason:
            return {"state": ProcessState.RESTARTING, "stage": _SILENT, "reason": before.reason}
        since = time.strftime("%H:%M:%S")
        return {"state": ProcessState.RESTARTING, "stage": _SILENT, "reason": f"no answer since {since}: {why}"}

    async def _other_role(self, spec: ProcessSpec) -> Role | None:
        """Returns the role that a worker says it has when that is not the one it is watched as."""
        if spec.role not in _CHECKED or not spec.info_url:
            return None
        if spec.name not in self._roles or self._rounds % _ROLES_EVERY == 0:
            info = await self._fetch.get(spec.info_url)
            self._roles[spec.name] = identity_of(info.json()).role
        role = self._roles[spec.name]
        return role if role is not None and role is not spec.role else None

    def _log(self, spec: ProcessSpec) -> dict[str, object]:
        try:
            status = os.stat(self._rundir.logs / spec.log)
        except OSError as error:
            reason = f"its log cannot be read: {error.strerror}"
            return {"state": ProcessState.RESTARTING, "stage": "no log", "reason": reason}
        grew = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.st_mtime))
        return {"state": ProcessState.READY, "stage": f"its log grew last at {grew}", "reason": ""}


async def _nobody(plan: LaunchPlan) -> None:
    """Takes a change of the plan that never comes."""
