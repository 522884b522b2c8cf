"""Takes a run over to a plan with more or fewer workers while it serves, and goes on with that after a runner's end.

What is to be is in `plan.json` before anything happens: a process of it that waits is started, one that the plan calls
leaving ends, and a router that runs is told of both. So a runner that is killed in between leaves nothing that the next
one does not see. Single processes are `runner.crew`'s business, the wire to the router is `runner.router_members`'.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from ...engine.errors import ConflictError
from ..launch import LaunchPlan, ProcessSpec, Role, encode_plan
from ..rundir import RunDir
from ..scaling.difference import PlanDifference
from ..scaling.roles import SCALABLE
from ..scaling.router_words import is_told_live, worker_url
from .book import Book
from .crew import Crew, Tell
from .journal import Journal
from .lifecycle import ENDED, ProcessEvent, ProcessState
from .router_members import RouterMembers
from .state import ProcessRecord

__all__ = ["Resize"]

_POLL_S = 0.1
_TELL_EVERY_S = 5.0
# A router that is busy or starts anew answers in this time; its requests end in the other.
_ROUTER_S = 60.0
_DRAIN_S = 60.0
_QUIET_S = 1.2
_GAUGES = ("running", "queued", "bootstrap_queue", "inflight_queue", "prealloc_queue", "transfer_queue")


class Resize:
    """Changes the workers of one run.

    Args:
        rundir: of the run.
        plan: what it is now.
        book: its record.
        crew: its processes.
        journal: is told of every step.
        use: tells the newest values by series.
        restart: ends a process and starts it again.

    Attributes:
        plan: of the run, those that leave included.
        replanned: hears of each change of the plan.
    """

    def __init__(
        self,
        rundir: RunDir,
        plan: LaunchPlan,
        book: Book,
        crew: Crew,
        journal: Journal,
        use: Callable[[], Mapping[str, float]],
        restart: Callable[[str, Tell], Awaitable[None]],
    ) -> None:
        self.plan = plan
        self._rundir = rundir
        self._book = book
        self._crew = crew
        self._journal = journal
        self._use = use
        self._restart = restart
        self._busy = False
        self.replanned: Callable[[LaunchPlan], Awaitable[None]] | None = None

    @property
    def is_due(self) -> bool:
        """True when something of a change is left to be done."""
        return bool(self.plan.leaving) or any(each.unlisted or each.outdated for each in self._book.processes)

    def check_idle(self) -> None:
        """Raises ConflictError while a change goes on."""
        if self._busy:
            raise ConflictError("run", self._book.run.id, "is being changed", "wait until that is done")

    async def change(self, new: LaunchPlan, deployment: bytes, difference: PlanDifference, progress: Tell) -> None:
        """Goes over to `new`; returns when what is added serves and what is removed has ended.

        Raises:
            ConflictError: a process does not become ready or does not end, or the router does not take the change.
        """
        self.check_idle()
        self._journal.say(
            "change",
            added=[spec.name for spec in difference.added],
            removed=[spec.name for spec in difference.removed],
            restarted=[change.name for change in difference.restarts],
        )
        leaving = tuple(spec.name for spec in difference.removed)
        for file in new.files:
            target = self._rundir.path / file.path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._rundir.write(target, file.text.encode())
        for change in difference.restarts:
            self._book.change(change.name, outdated=True)
        self._book.save()
        self._rundir.write(self._rundir.deployment, deployment)
        await self._take(replace(new, processes=(*new.processes, *difference.removed), leaving=leaving))
        await self.finish(progress)

    async def finish(self, progress: Tell) -> None:
        """Does what is left of a change; see `change`."""
        self.check_idle()
        self._busy = True

        def tell(text: str) -> None:
            progress(text)
            self._book.set(notice=text)

        notice = ""
        try:
            await self._remove(tell)
            await self._add(tell)
            await self._renew(tell)
        except ConflictError as error:
            notice = str(error)
            self._journal.say("problem", text=notice)
            raise
        finally:
            self._busy = False
            self._book.set(notice=notice)

    def on_ready(self, name: str) -> None:
        """Tells the router of a worker that became ready after a change had given up on it."""
        if not self._busy and self._process(name).unlisted:
            self._crew.keep(self.finish(lambda text: None))

    def forget_leaving(self) -> None:
        """Takes those that leave out of the plan of a run that has ended."""
        if self.plan.leaving:
            self._write(self._without(self.plan.leaving))

    async def _remove(self, progress: Tell) -> None:
        leaving = [spec for name in self.plan.leaving if (spec := self.plan.process(name)) is not None]
        if not leaving:
            return
        await self._dismiss(leaving, progress)
        for spec in leaving:
            await self._drain(spec, progress)
        async with self._crew.changes:
            self._refuse_when_stopping()
            for spec in leaving:
                self._book.apply(spec.name, ProcessEvent.STOP, again=False)
            await self._crew.end([self._process(spec.name) for spec in leaving], progress)
        stuck = [spec.name for spec in leaving if self._process(spec.name).state not in ENDED]
        if stuck:
            raise ConflictError("process", stuck[0], "does not end", "look at its log")
        await self._take(self._without([spec.name for spec in leaving]))

    async def _dismiss(self, leaving: list[ProcessSpec], progress: Tell) -> None:
        """Has the router give those that leave no more requests, and waits until theirs have ended."""
        router = self._router()
        if router is None or self._process(router.name).state is not ProcessState.READY:
            return
        if not is_told_live(router):
            if self._process(router.name).outdated:
                await self._restarted(router, progress)
            return
        members = RouterMembers(router)
        for spec in leaving:
            progress(f"router: no more requests for {spec.name}")
            problem = await self._until_taken(members.remove, spec)
            if problem:
                raise ConflictError("router", problem, f"did not let {spec.name} go", "restart the router, then again")
        urls = {worker_url(spec): spec.name for spec in leaving}

        async def gone() -> str:
            known = await members.known()
            held = [urls[url] for url in urls if known is not None and url in known]
            return f"requests on {', '.join(held)} go on" if held else ""

        # A router that does not come to an end with them lets them go on elsewhere or fail; either way it is waited.
        await self._until(gone, _DRAIN_S, progress)

    async def _drain(self, spec: ProcessSpec, progress: Tell) -> None:
        """Waits until a worker says that nothing is left on it, as far as it says anything."""
        if self._process(spec.name).state is not ProcessState.READY:
            return
        began = time.monotonic()

        async def busy() -> str:
            values = self._use()
            left = sum(values.get(f"proc/{spec.name}/{gauge}", 0.0) for gauge in _GAUGES)
            if left:
                self._book.change(spec.name, stage=f"ends its requests: {left:.0f} left")
                return f"{spec.name}: {left:.0f} requests left"
            # A value is as old as the beat that it was sampled at.
            return "" if time.monotonic() - began > _QUIET_S else " "

        await self._until(busy, _DRAIN_S, progress)

    async def _add(self, progress: Tell) -> None:
        added = [spec for spec in self.plan.processes if self._process(spec.name).unlisted]
        if not added:
            return
        async with self._crew.changes:
            self._refuse_when_stopping()
            await self._crew.start_those_due()
        told: dict[str, str] = {}
        while waiting := [spec for spec in added if self._is_starting(spec.name)]:
            self._refuse_when_stopping()
            for spec in waiting:
                process = self._process(spec.name)
                said = f"{spec.name} {process.state}{f': {process.stage}' if process.stage else ''}"
                if told.get(spec.name) != said:
                    told[spec.name] = said
                    progress(said)
            await asyncio.sleep(_POLL_S)
        self._refuse_when_stopping()
        await self._introduce([spec for spec in added if self._is_ready(spec.name)], progress)
        failed = [self._process(spec.name) for spec in added if not self._is_ready(spec.name)]
        if failed:
            problem = f"did not become ready: {failed[0].reason or failed[0].state}"
            raise ConflictError("process", failed[0].name, problem, "look at its log, restart it, or scale back")

    async def _introduce(self, workers: list[ProcessSpec], progress: Tell) -> None:
        """Tells the router of workers that are ready, and waits until it sends them requests."""
        router = self._router()
        workers = [spec for spec in workers if self._process(spec.name).unlisted and spec.ready.url]
        if router is None or not is_told_live(router):  # It is restarted, or finds them by itself.
            for spec in workers:
                self._book.change(spec.name, unlisted=False)
            return
        members = RouterMembers(router)
        for spec in workers:
            progress(f"router: {spec.name} may have requests")
            problem = await self._until_taken(members.add, spec)
            if problem:
                raise ConflictError("router", problem, f"did not take {spec.name}", "restart the router, then again")
            self._book.change(spec.name, unlisted=False)
            self._journal.say("listed", process=spec.name, since_start_s=self._book.age_s)

        async def unhealthy() -> str:
            known = await members.known()
            if known is None:
                return ""
            late = [spec.name for spec in workers if not ((one := known.get(worker_url(spec))) and one.is_healthy)]
            return f"the router looks whether {', '.join(late)} answers" if late else ""

        await self._until(unhealthy, _ROUTER_S, progress)

    async def _renew(self, progress: Tell) -> None:
        """Restarts what runs by a command that is no longer the plan's, the router last."""
        outdated = [spec for spec in self.plan.processes if self._process(spec.name).outdated]
        for spec in sorted(outdated, key=lambda spec: spec.role not in SCALABLE):
            await self._restarted(spec, progress)

    async def _restarted(self, spec: ProcessSpec, progress: Tell) -> None:
        progress(f"restarting {spec.name}")
        await self._restart(spec.name, progress)

        async def starting() -> str:
            process = self._process(spec.name)
            return f"{spec.name} {process.state}" if self._is_starting(spec.name) else ""

        await self._until(starting, spec.ready.timeout_s, progress)
        if not self._is_ready(spec.name):
            raise ConflictError("process", spec.name, "did not become ready again", "look at its log")

    async def _until_taken(self, ask: Callable[[ProcessSpec], Awaitable[str]], spec: ProcessSpec) -> str:
        deadline = time.monotonic() + _ROUTER_S
        while problem := await ask(spec):
            self._refuse_when_stopping()
            if time.monotonic() > deadline or "status 4" in problem:
                return problem
            await asyncio.sleep(_POLL_S)
        return ""

    async def _until(self, look: Callable[[], Awaitable[str]], seconds: float, progress: Tell) -> bool:
        """Waits until `look` has nothing more to say, at most so long; tells now and then what it says."""
        deadline, told_at = time.monotonic() + seconds, time.monotonic()
        while said := await look():
            self._refuse_when_stopping()
            now = time.monotonic()
            if now > deadline:
                return False
            if now - told_at > _TELL_EVERY_S and said.strip():
                told_at = now
                progress(said)
            await asyncio.sleep(_POLL_S)
        return True

    async def _take(self, plan: LaunchPlan) -> None:
        self._write(plan)
        if self.replanned is not None:
            await self.replanned(plan)

    def _write(self, plan: LaunchPlan) -> None:
        self._rundir.write(self._rundir.plan, encode_plan(plan))
        self.plan = plan
        self._book.replan(plan)
        self._crew.replan(plan)

    def _without(self, names: tuple[str, ...] | list[str]) -> LaunchPlan:
        left = tuple(spec for spec in self.plan.processes if spec.name not in names)
        return replace(self.plan, processes=left, leaving=())

    def _router(self) -> ProcessSpec | None:
        return next((spec for spec in self.plan.processes if spec.role in {Role.ROUTER, Role.PROXY}), None)

    def _process(self, name: str) -> ProcessRecord:
        return self._book.process(name)

    def _is_ready(self, name: str) -> bool:
        return self._process(name).state is ProcessState.READY

    def _is_starting(self, name: str) -> bool:
        return self._process(name).state in {ProcessState.PENDING, ProcessState.STARTING, ProcessState.RESTARTING}

    def _refuse_when_stopping(self) -> None:
        if self._book.run.stop_asked or self._book.run.restart_asked:
            raise ConflictError("run", self._book.run.id, "is stopping or restarting", "look at it again when it runs")
