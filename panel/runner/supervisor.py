"""The life of one run: what is done with all of its processes, and in which order.

Begins a fresh run, goes on with what an earlier runner left (`runner.takeover` decides what becomes of each process),
stops and restarts. The single process is `runner.crew`'s business. Lives in the runner's event loop; its server and
main call it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from ...engine.errors import ConflictError, NotFoundError
from ...nic_probe.finding import Finding, Severity
from ..launch import LaunchPlan, ProcessSpec
from ..rundir import RunDir
from ..scaling.difference import check_same_run
from ..scaling.proposal import proposed
from .book import Book
from .child import Adopted, Started
from .crew import Crew, Tell
from .journal import Journal
from .lifecycle import ENDED, WITHOUT_PROCESS, ProcessEvent, ProcessState
from .prepare import is_prepared, prepare
from .resize import Resize
from .sampler import Watched
from .state import MODEL_STEP, ProcessRecord, RunRecord, reconciled
from .takeover import Then, take_over

__all__ = ["Supervisor"]


class Supervisor:
    """Supervises the processes of one run.

    Attributes:
        ended: set when there is nothing left to do: all processes ended, or the runner was told to leave
            them.
        use: tells what the processes use, by series.
        storage: tells what is wrong with the run's directory.
        replanned: hears of each change of the plan.
    """

    def __init__(
        self,
        rundir: RunDir,
        plan: LaunchPlan,
        record: RunRecord,
        environment: Mapping[str, str],
        journal: Journal,
    ) -> None:
        self._rundir = rundir
        record = reconciled(record, plan)
        self._found = record
        self._environment = environment
        self._journal = journal
        self._book = Book(rundir, record, journal)
        self._crew = Crew(rundir, plan, self._book, environment, journal)
        self._resize = Resize(rundir, plan, self._book, self._crew, journal, lambda: self.use(), self.restart_process)
        self._crew.on_ready = self._resize.on_ready
        self._preparing: asyncio.Task[str] | None = None
        self.use: Callable[[], Mapping[str, float]] = dict
        self.storage: Callable[[], tuple[Finding, ...]] = tuple
        self.replanned: Callable[[LaunchPlan], Awaitable[None]] = _nobody
        self.ended = asyncio.Event()

    @property
    def record(self) -> RunRecord:
        """The run as it is now, with what its processes use."""
        told, findings = self._book.told(self.use()), self.storage()
        worth = next((finding.reason for finding in findings if finding.severity is not Severity.INFO), "")
        return replace(told, notice=told.notice or worth, findings=findings)

    @property
    def _plan(self) -> LaunchPlan:
        return self._resize.plan

    def save_if_due(self) -> None:
        """Writes the record again if the disk did not take it."""
        if self._book.waits:
            self._book.save()

    def watched(self) -> list[Watched]:
        """Returns the processes that can be sampled now."""
        return [
            Watched(process.name, process.pid, process.state is ProcessState.READY)
            for process in self._book.processes
            if process.pid is not None and process.state not in WITHOUT_PROCESS
        ]

    async def start(self) -> None:
        """Begins a fresh run; goes on with one that has a past, from where its last runner left it."""
        self._book.save()
        self._crew.begin()
        step = Adopted.take(self._found.step_pid, self._found.step_ticks, self._found.id)
        if self._found.runner_pid is not None or self._found.resumed_at is not None:
            async with self._crew.changes:
                await self._take_over()
        if self._book.run.stop_asked:
            await self.stop(lambda text: None)
        elif self._book.run.restart_asked:
            await self.restart(lambda text: None)
        else:
            await self._bring_up(step)
            if self._resize.is_due:
                self._crew.keep(self._finish_change())

    async def stop(self, progress: Tell) -> None:
        """Ends all processes; on return there is none, or the record says which one does not end."""
        self._book.set(stop_asked=True)
        if self._preparing is not None:
            self._preparing.cancel()
        async with self._crew.changes:
            if self.ended.is_set():
                return
            self._journal.say("stop", since_start_s=self._book.age_s)
            for process in self._book.processes:
                self._book.apply(process.name, ProcessEvent.STOP, again=False)
            left = [process for process in self._book.processes if process.pid is not None]
            if self._preparing is not None or self._book.run.step_pid is not None:
                left.append(self._book.run.step)
            await self._crew.end(left, progress)
            if all(process.state in ENDED for process in self._book.processes):
                await self._crew.conclude()
                self._resize.forget_leaving()
                self._leave()

    async def restart(self, progress: Tell) -> None:
        """Ends all processes and starts them anew in their order; returns while they start.

        Raises:
            ConflictError: the run is stopping or prepares its model, or a process does not end.
        """
        if self._preparing is not None and not self._preparing.done():
            problem = "is preparing its model"
            raise ConflictError("run", self._book.run.id, problem, "wait until it is ready, or stop it")
        self._resize.check_idle()
        async with self._crew.changes:
            self._refuse_when_stopping()
            self._book.set(restart_asked=True, was_ready=False, failed=False, notice="")
            self._journal.say("restart", since_start_s=self._book.age_s)
            for process in self._book.processes:
                self._book.apply(process.name, ProcessEvent.STOP, again=False)
            await self._crew.end([process for process in self._book.processes if process.pid is not None], progress)
            stuck = [process.name for process in self._book.processes if process.state is ProcessState.STOPPING]
            if not stuck:
                self._resize.forget_leaving()
                for spec in self._plan.processes:
                    self._crew.reset(spec)
                    self._book.change(spec.name, unlisted=False)  # The router starts with all of them.
            self._book.set(restart_asked=False)
            if stuck:
                raise ConflictError("process", stuck[0], "does not end", "look at its log")
        self._crew.keep(self._bring_up())

    async def stop_process(self, name: str, progress: Tell) -> None:
        """Ends one process and leaves it ended.

        Raises:
            NotFoundError: the run has no process of that name.
        """
        self._spec(name)
        async with self._crew.changes:
            self._book.apply(name, ProcessEvent.STOP, again=False)
            await self._crew.end([self._book.process(name)], progress)

    async def restart_process(self, name: str, progress: Tell) -> None:
        """Ends one process if it runs, and starts it anew.

        Raises:
            NotFoundError: the run has no process of that name.
            ConflictError: the run is stopping, or the process does not end.
        """
        spec = self._spec(name)
        if self._book.run.failed:
            raise ConflictError("run", self._book.run.id, "has no usable model", "stop it and start it anew")
        async with self._crew.changes:
            if self._book.process(name).state is not ProcessState.PENDING:
                self._book.apply(name, ProcessEvent.STOP, again=True)
                await self._crew.end([self._book.process(name)], progress)
            self._refuse_when_stopping()
            process = self._book.process(name)
            if process.state is ProcessState.STOPPING:
                self._book.change(name, again=False)
                raise ConflictError("process", name, "does not end", "look at its log")
            self._book.change(name, restarts=process.restarts + 1, reason="", findings=())
            self._crew.spawn(spec)

    async def change_plan(self, digest: str, progress: Tell) -> None:
        """Goes over to the proposed plan with that digest; returns when all of it is done.

        Raises:
            ConflictError: it is not the plan that was shown, the run cannot change now, or a process fails.
            ConfigError: it is more than another number of workers.
        """
        self._refuse_when_stopping()
        self._resize.check_idle()
        if not self._book.run.was_ready or self._book.run.failed:
            raise ConflictError("run", self._book.run.id, "is not ready yet", "wait until it is")
        new, deployment = proposed(self._rundir, self._plan, digest)
        difference = check_same_run(self._plan, new, self._book.run.id)
        if difference:
            self._resize.replanned = self.replanned
            # Whoever asked may go away meanwhile; the change goes on.
            await asyncio.shield(asyncio.ensure_future(self._resize.change(new, deployment, difference, progress)))

    async def _finish_change(self) -> None:
        self._resize.replanned = self.replanned
        with suppress(ConflictError):  # The run's notice says it.
            await self._resize.finish(lambda text: None)

    def leave(self) -> None:
        """Ends the supervision alone; the processes go on."""
        self._book.set(left=True)
        self._journal.say("leave")
        self._leave()

    def _leave(self) -> None:
        self._book.save()
        self._crew.cease()
        self.ended.set()

    async def _take_over(self) -> None:
        left: list[ProcessRecord] = []
        lost: list[tuple[ProcessSpec, Then]] = []
        for spec in self._plan.processes:
            process = self._book.process(spec.name)
            child = Adopted.take(process.pid, process.start_ticks, self._found.id)
            then = take_over(process, alive=child is not None)
            self._journal.say("adopt", process=spec.name, pid=process.pid, state=process.state, then=then)
            if then is Then.WATCH and child is not None:
                self._crew.watch(spec, child)
                continue
            if then is Then.LOST:
                self._crew.note_end(spec, None)
            lost.append((spec, then))
            left.append(self._book.process(spec.name))
        # Nothing may be left of what is not watched: it would hold the ports of what is started next.
        await self._crew.end(left, lambda text: None)
        for spec, then in lost:
            process = self._book.process(spec.name)
            if then in {Then.LOST, Then.RETRY}:
                self._crew.keep(self._crew.recover(spec, None))
            elif process.again and process.state is ProcessState.STOPPED:
                self._crew.reset(spec)

    async def _bring_up(self, step: Started | None = None) -> None:
        """Prepares the model if that was not done before, and starts the processes that are due."""
        wanted = self._plan.prepare
        if wanted is not None and (step is not None or not is_prepared(wanted, self._rundir)):
            self._preparing = asyncio.create_task(
                prepare(
                    wanted,
                    self._plan.model,
                    self._rundir,
                    self._environment,
                    lambda text: self._book.set(notice=text),
                    step,
                    lambda child: self._book.set(step_pid=child.pid, step_ticks=child.start_ticks),
                )
            )
            await asyncio.wait({self._preparing})
            if self._book.run.stop_asked or self._preparing.cancelled():
                return
            problem = self._preparing.result()
            self._book.set(failed=bool(problem), notice=problem, step_pid=None, step_ticks=None)
            self._journal.say(MODEL_STEP, problem=problem, since_start_s=self._book.age_s)
        if not self._book.run.failed:
            await self._crew.start_those_due()

    def _refuse_when_stopping(self) -> None:
        if self._book.run.stop_asked:
            raise ConflictError("run", self._book.run.id, "is stopping", "start it anew when it has ended")

    def _spec(self, name: str) -> ProcessSpec:
        spec = self._plan.process(name)
        if spec is None:
            known = ", ".join(spec.name for spec in self._plan.processes)
            raise NotFoundError("process", name, "is not a process of this run", f"name one of {known}")
        return spec


async def _nobody(plan: LaunchPlan) -> None:
    """Hears of a change of the plan where nobody samples."""
