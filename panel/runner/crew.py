"""The processes of one run: each one's start, readiness, end by itself and start anew.

Knows one process at a time and what has to be ready before it; what happens to the run as a whole is
`runner.supervisor`'s business. The record is `runner.book`'s, ends that are asked for are `runner.reaper`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence

from ...engine.errors import ConfigError
from ..launch import LaunchPlan, ProcessSpec, Restart, Role
from ..rundir import RunDir
from .autopsy import examine
from .book import Book
from .child import Child, Started, describe_exit
from .freeze import FROZEN, FreezeWatch
from .journal import Journal, clean_line, last_meaningful_line
from .lifecycle import ProcessEvent, ProcessState
from .listener import older_listener
from .oom import oom_counts
from .probe import startup_phases, wait_until_ready
from .procfs import read_stat
from .reaper import end_processes
from .restart import Restarts
from .stage import STARTING, Stage
from .stage_log import StageLog
from .start_mark import mark_start
from .state import MODEL_STEP, ProcessRecord

__all__ = ["Crew", "Tell"]

Tell = Callable[[str], None]
_CONCLUDE_S = 5.0
_ROUTERS = frozenset({Role.ROUTER, Role.PROXY})
_LIVING = frozenset({ProcessState.STARTING, ProcessState.READY})


class Crew:
    """The processes of the run in `book`.

    Attributes:
        children: the processes that were started or adopted, by name; one that was started again takes the place of
            the one before.
        changes: held by whoever ends or starts processes, since leftovers of an old one look like a new one.
        on_ready: hears the name of each process that has become ready.
    """

    def __init__(
        self, rundir: RunDir, plan: LaunchPlan, book: Book, environment: Mapping[str, str], journal: Journal
    ) -> None:
        self._rundir = rundir
        self._plan = plan
        self._book = book
        self._environment = environment
        self._journal = journal
        self._oom: dict[str, Mapping[str, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._examined: set[asyncio.Task[None]] = set()
        self._restarts = {spec.name: self._restarts_of(spec) for spec in plan.processes}
        self._freeze = FreezeWatch(book, self._restarts, journal)
        self._held = ""
        self.children: dict[str, Started] = {}
        self.changes = asyncio.Lock()
        self.on_ready: Callable[[str], None] = lambda name: None

    def begin(self) -> None:
        """Starts what goes on beside everything else."""
        self.keep(self._freeze.run())

    def replan(self, plan: LaunchPlan) -> None:
        """Takes a changed plan of the run; the book has it already."""
        self._plan = plan
        for name in self._restarts.keys() - {spec.name for spec in plan.processes}:
            del self._restarts[name]
            self.children.pop(name, None)
        for spec in plan.processes:
            if spec.name not in self._restarts:
                self._restarts[spec.name] = self._restarts_of(spec)

    async def conclude(self) -> None:
        """Waits a moment until the ends of all processes are noted and looked into."""
        if self.children:
            # Reaped here, not left as zombies to an init that may be slow or none.
            await asyncio.wait([child.ended for child in self.children.values()], timeout=_CONCLUDE_S)
            await asyncio.sleep(0)  # who waits for the ends takes note of them
        if self._examined:
            await asyncio.wait(self._examined, timeout=_CONCLUDE_S)

    def cease(self) -> None:
        """Ends all supervision; the processes go on."""
        for task in self._tasks:
            task.cancel()

    def keep(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Runs `work` beside everything else; what goes wrong in it becomes the run's notice."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)
        return task

    async def start_those_due(self) -> None:
        """Starts every process that waits and whose predecessors are ready."""
        ready = {process.name for process in self._book.processes if process.state is ProcessState.READY}
        for spec in self._plan.processes:
            pending = self._book.process(spec.name).state is ProcessState.PENDING
            if pending and not self._book.run.stop_asked and ready.issuperset(spec.after):
                self.spawn(spec)
                await asyncio.sleep(0)  # Hundreds of starts must not keep everybody else waiting.

    def spawn(self, spec: ProcessSpec) -> None:
        """Starts a process and watches it; that it cannot be started is its crash."""
        log = self._rundir.logs / spec.log
        try:
            offset = mark_start(log, time.time())
            child = Child.start(spec.argv, {**self._environment, **spec.env}, spec.cwd, log)
        except (ConfigError, OSError) as error:
            self._book.apply(spec.name, ProcessEvent.FAIL, reason=str(error), stage="", again=False)
            return
        self._journal.say("spawn", process=spec.name, pid=child.pid, since_start_s=self._book.age_s)
        self._book.apply(
            spec.name,
            ProcessEvent.SPAWN,
            pid=child.pid,
            start_ticks=child.start_ticks,
            started_at=time.time(),
            stage=STARTING if spec.ready.url else "",
            progress=None,
            exit_code=None,
            log_offset=offset,
            again=False,
            outdated=False,
        )
        if spec.role in _ROUTERS:  # Its command names all workers of the plan.
            for process in self._book.processes:
                self._book.change(process.name, unlisted=False)
        self.watch(spec, child)

    def watch(self, spec: ProcessSpec, child: Started) -> None:
        """Watches a process that is starting or ready: its readiness, and its end."""
        self.children[spec.name] = child
        self._oom[spec.name] = oom_counts()
        if self._book.process(spec.name).state is ProcessState.STARTING:
            self._probes[spec.name] = self.keep(self._watch_start(spec, child))
        else:
            self._restarts[spec.name].ready(time.monotonic())
        self.keep(self._watch_end(spec, child))

    def note_end(self, spec: ProcessSpec, code: int | None) -> None:
        """Takes an end that nobody had asked for into the record, and has it looked into."""
        name = spec.name
        process = self._book.process(name)
        frozen = self._freeze.was_frozen(name)
        said = last_meaningful_line(self._rundir.logs / spec.log, process.log_offset)
        reason = f"{FROZEN}, and killed for that" if frozen else describe_exit(code)
        if said and not frozen and (code is None or code >= 0):  # Nobody logs the signal that killed him.
            reason = f"{reason}: {said}" if code is not None else f"{reason}; its log says: {said}"
        changes = {"reason": reason, "findings": (), "exit_code": code, "stage": "", "progress": None}
        self._book.apply(name, ProcessEvent.EXIT, **changes)
        if not frozen:
            self._look_into(spec, code, self._oom.get(name, {}))

    async def recover(self, spec: ProcessSpec, child: Started | None) -> None:
        """Clears away what a process left that ended by itself, and starts it again after a pause if it should be.

        Args:
            spec: the process.
            child: its last life; None for one that ended before this runner.
        """
        name = spec.name
        state = self._book.process(name).state
        if state is ProcessState.RESTARTING:  # An earlier runner had decided that, and ended in the pause.
            pause_s: float | None = self._restarts[name].pause_s()
        elif state is ProcessState.CRASHED:
            pause_s = self._restarts[name].ended(time.monotonic())
        else:
            return
        self._book.change(name, failures=self._restarts[name].failures)
        if pause_s is not None:
            self._book.apply(name, ProcessEvent.RETRY, stage=f"starts again in {pause_s:g} s")
        await self._end_leftovers(name, child)
        if pause_s is None:
            return
        await asyncio.sleep(pause_s)
        async with self.changes:
            waits = self._book.knows(name) and self._book.process(name).state is ProcessState.RESTARTING
            if self.children.get(name) is child and waits:
                self._book.change(name, restarts=self._book.process(name).restarts + 1)
                self.spawn(spec)

    async def end(self, processes: Sequence[ProcessRecord], progress: Tell) -> None:
        """Ends processes with everything that belongs to them; what does not go is said in the run's notice."""
        loop = asyncio.get_running_loop()

        def tell(text: str) -> None:
            loop.call_soon_threadsafe(progress, text)

        run = self._book.run
        ending = await asyncio.to_thread(end_processes, run.id, run.host, processes, tell)
        for process in processes:
            known = process.name != MODEL_STEP and self._book.process(process.name).state is not ProcessState.PENDING
            if known and process.name not in ending.stuck:
                self._book.apply(process.name, ProcessEvent.GONE)
        if ending.notice:
            self._journal.say("problem", text=ending.notice)
            self._held = ending.notice
            self._book.set(notice=ending.notice)

    def reset(self, spec: ProcessSpec) -> None:
        """Puts an ended process back to where it waits for its start, as if it had never lived."""
        name = spec.name
        process = self._book.process(name)
        self.children.pop(name, None)
        self._book.apply(
            name,
            ProcessEvent.RESET,
            pid=None,
            start_ticks=None,
            stage="",
            reason="",
            findings=(),
            exit_code=None,
            was_ready=False,
            failures=0,
            again=False,
            restarts=process.restarts + (process.pid is not None),
        )
        self._restarts[name] = self._restarts_of(spec)

    async def _watch_start(self, spec: ProcessSpec, child: Started) -> None:
        name = spec.name

        def on_stage(stage: Stage) -> None:
            if self.children.get(name) is child and self._book.process(name).state is ProcessState.STARTING:
                self._book.change(name, stage=stage.text, progress=stage.progress)

        log = StageLog(self._rundir.logs / spec.log, self._book.process(name).log_offset)
        waited_s = 0.0 if isinstance(child, Child) else _age_s(child)
        problem = await wait_until_ready(
            spec.ready,
            log,
            on_stage,
            lambda: len(self._probes),
            waited_s,
            lambda port: older_listener(port, child.pid, child.start_ticks),
        )
        if child.ended.done() or self.children.get(name) is not child:
            return
        del self._probes[name]
        if problem:
            self._book.apply(name, ProcessEvent.FAIL, reason=problem, stage="", progress=None)
            self._look_into(spec, None, {})
            self.keep(self.recover(spec, child))
            return
        self._book.apply(name, ProcessEvent.READY, stage="", progress=None, was_ready=True)
        if self._held and self._book.run.notice == self._held:  # what held its port let go
            self._book.set(notice="")
        self._restarts[name].ready(time.monotonic())
        after_s = round(_age_s(child), 3)
        self._journal.say("ready", process=name, after_s=after_s, since_start_s=self._book.age_s)
        self.on_ready(name)
        await self.start_those_due()
        if spec.info_url and (phases := await startup_phases(spec.info_url)):
            self._journal.say("startup", process=name, seconds=phases)

    async def _watch_end(self, spec: ProcessSpec, child: Started) -> None:
        name = spec.name
        code = await child.ended
        self._journal.say("exit", process=name, pid=child.pid, code=code, since_start_s=self._book.age_s)
        if self.children.get(name) is not child:
            return  # restarted already: the probe is the new child's
        if (probe := self._probes.pop(name, None)) is not None:
            probe.cancel()
        if self._book.process(name).state not in _LIVING:
            self._book.apply(name, ProcessEvent.EXIT, exit_code=code)
            return
        self.note_end(spec, code)
        await self.recover(spec, child)

    def _look_into(self, spec: ProcessSpec, code: int | None, oom: Mapping[str, int]) -> None:
        offset = self._book.process(spec.name).log_offset
        task = self.keep(self._examine(spec, code, offset, oom))
        self._examined.add(task)
        task.add_done_callback(self._examined.discard)

    async def _examine(self, spec: ProcessSpec, code: int | None, offset: int, oom: Mapping[str, int]) -> None:
        before = self._book.process(spec.name).reason
        log = self._rundir.logs / spec.log
        found = await asyncio.to_thread(examine, spec.name, code, log, offset, oom)
        if not self._book.knows(spec.name):
            return
        if self._book.process(spec.name).reason == before:  # Else there is something newer to say.
            reason = f"{describe_exit(code)}: memory ran out" if found.memory_ran_out else before
            self._book.change(spec.name, reason=reason, findings=found.findings)

    async def _end_leftovers(self, name: str, child: Started | None) -> None:
        # What a crashed process leaves behind would hold its ports and its memory. Never while it is being
        # restarted: the new process carries the same marks.
        async with self.changes:
            gone = self._book.process(name).state in {ProcessState.CRASHED, ProcessState.RESTARTING}
            if self.children.get(name) is child and gone:
                await self.end([self._book.process(name)], lambda text: None)

    def _restarts_of(self, spec: ProcessSpec) -> Restarts:
        wanted = Restart.NEVER if spec.role is Role.SUBMIT else self._plan.restart
        process = self._book.process(spec.name)
        return Restarts(wanted, was_ready=process.was_ready, failures=process.failures)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._journal.say("problem", text=f"internal error: {error!r}")
            self._book.set(notice=f"internal error of the runner: {clean_line(str(error))}")


def _age_s(child: Started) -> float:
    stat = read_stat(child.pid)
    return 0.0 if stat is None else stat.age_s
