"""The life of one run: starts its processes, watches them, stops them, and keeps the record of it all.

The only writer of the run's record and `state.json`. States come from `runner.lifecycle`, ends from
`runner.reaper`; what is here is the order in which things are done. Lives in the runner's event loop; its
server and main call it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace

from ...engine.errors import ConfigError, ConflictError, NotFoundError
from ..launch import LaunchPlan, ProcessSpec, Restart, Role
from ..rundir import RunDir
from .child import Child, describe_exit
from .journal import Journal, clean_line, last_meaningful_line
from .lifecycle import ENDED, WITHOUT_PROCESS, ProcessEvent, ProcessState, RunState, run_state, transition
from .prepare import MODEL_STEP, is_prepared, prepare
from .probe import startup_phases, wait_until_ready
from .procfs import read_stat, send_signal
from .reaper import end_processes
from .restart import Restarts
from .sampler import Watched
from .state import ProcessRecord, RunRecord, encode_record

__all__ = ["Supervisor"]

_REAP_TIMEOUT_S = 5.0
_LOOK_S = 1.0
_FROZEN = "stopped by a signal (SIGSTOP)"


class Supervisor:
    """Supervises the processes of one run.

    Attributes:
        ended: set when there is nothing left to do: all processes ended, or the runner was told to leave
            them.
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
        self._plan = plan
        self._record = replace(record, runner_pid=os.getpid())
        self._environment = environment
        self._journal = journal
        self._children: dict[str, Child] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._restarts = {
            spec.name: Restarts(Restart.NEVER if spec.role is Role.SUBMIT else plan.restart) for spec in plan.processes
        }
        self._frozen: set[str] = set()
        self._held = ""
        self._preparing: asyncio.Task[str] | None = None
        self._changes = asyncio.Lock()
        self._stop_asked = False
        self._was_ready = False
        self._failed = False
        self.use: Callable[[], Mapping[str, float]] = dict
        self.ended = asyncio.Event()

    @property
    def record(self) -> RunRecord:
        """The run as it is now, with what its processes use."""
        use = self.use()
        return replace(
            self._record,
            processes=tuple(
                replace(
                    process,
                    cpu_percent=use.get(f"proc/{process.name}/cpu_percent"),
                    rss_bytes=None if (rss := use.get(f"proc/{process.name}/rss_bytes")) is None else int(rss),
                )
                for process in self._record.processes
            ),
        )

    def watched(self) -> list[Watched]:
        """Returns the processes that can be sampled now."""
        return [
            Watched(process.name, process.pid, process.state is ProcessState.READY)
            for process in self._record.processes
            if process.pid is not None and process.state not in WITHOUT_PROCESS
        ]

    async def start(self) -> None:
        """Prepares the model if that was not done before, and starts the processes."""
        self._save()
        step = self._plan.prepare
        if step is not None and not is_prepared(step, self._rundir):
            self._preparing = asyncio.create_task(
                prepare(step, self._plan.model, self._rundir, self._environment, self._notice)
            )
            await asyncio.wait({self._preparing})
            if self._stop_asked or self._preparing.cancelled():
                return
            problem = self._preparing.result()
            self._failed = bool(problem)
            self._notice(problem)
            self._journal.say("model", problem=problem, since_start_s=self._age())
        if not self._failed:
            self._start_those_due()
            self._keep(self._watch_frozen())

    async def stop(self, progress: Callable[[str], None]) -> None:
        """Ends all processes; on return there is none, or the record says which one does not end."""
        self._stop_asked = True
        if self._preparing is not None:
            self._preparing.cancel()
        async with self._changes:
            if self.ended.is_set():
                return
            self._journal.say("stop", since_start_s=self._age())
            for process in self._record.processes:
                self._apply(process.name, ProcessEvent.STOP)
            left = [process for process in self._record.processes if process.pid is not None]
            if self._preparing is not None:
                left.append(ProcessRecord(MODEL_STEP, self._plan.processes[0].role, {}, "model.log", 1.0))
            await self._end(left, progress)
            if all(process.state in ENDED for process in self._record.processes):
                # Reaped here, not left as zombies to an init that may be slow or none.
                if self._children:
                    await asyncio.wait([child.ended for child in self._children.values()], timeout=_REAP_TIMEOUT_S)
                self.ended.set()

    async def stop_process(self, name: str, progress: Callable[[str], None]) -> None:
        """Ends one process and leaves it ended.

        Raises:
            NotFoundError: the run has no process of that name.
        """
        self._spec(name)
        async with self._changes:
            self._apply(name, ProcessEvent.STOP)
            await self._end([self._process(name)], progress)

    async def restart_process(self, name: str, progress: Callable[[str], None]) -> None:
        """Ends one process if it runs, and starts it anew.

        Raises:
            NotFoundError: the run has no process of that name.
            ConflictError: the run is stopping, or the process does not end.
        """
        spec = self._spec(name)
        if self._failed:
            raise ConflictError("run", self._record.id, "has no usable model", "stop it and start it anew")
        async with self._changes:
            if self._process(name).state is not ProcessState.PENDING:
                self._apply(name, ProcessEvent.STOP)
                await self._end([self._process(name)], progress)
            if self._stop_asked:
                raise ConflictError("run", self._record.id, "is stopping", "start it anew when it has ended")
            if self._process(name).state is ProcessState.STOPPING:
                raise ConflictError("process", name, "does not end", "look at its log")
            self._change(name, restarts=self._process(name).restarts + 1, reason="")
            self._spawn(spec)

    def leave(self) -> None:
        """Ends the supervision alone; the processes go on."""
        self._journal.say("leave")
        self.ended.set()

    def _start_those_due(self) -> None:
        ready = {process.name for process in self._record.processes if process.state is ProcessState.READY}
        for spec in self._plan.processes:
            pending = self._process(spec.name).state is ProcessState.PENDING
            if pending and not self._stop_asked and ready.issuperset(spec.after):
                self._spawn(spec)

    def _spawn(self, spec: ProcessSpec) -> None:
        log = self._rundir.logs / spec.log
        try:
            child = Child.start(spec.argv, {**self._environment, **spec.env}, spec.cwd, log)
        except ConfigError as error:
            self._apply(spec.name, ProcessEvent.FAIL, reason=str(error), stage="")
            return
        self._children[spec.name] = child
        self._journal.say("spawn", process=spec.name, pid=child.pid, since_start_s=self._age())
        self._apply(
            spec.name,
            ProcessEvent.SPAWN,
            pid=child.pid,
            start_ticks=child.start_ticks,
            started_at=time.time(),
            stage="",
        )
        self._probes[spec.name] = self._keep(self._watch_start(spec, child))
        self._keep(self._watch_end(spec, child))

    async def _watch_start(self, spec: ProcessSpec, child: Child) -> None:
        problem = await wait_until_ready(spec.ready, lambda stage: self._change(spec.name, stage=stage))
        if child.ended.done() or self._children.get(spec.name) is not child:
            return
        if problem:
            self._apply(spec.name, ProcessEvent.FAIL, reason=problem, stage="")
            self._keep(self._recover(spec, child))
            return
        self._apply(spec.name, ProcessEvent.READY, stage="")
        if self._held and self._record.notice == self._held:  # what held its port let go
            self._notice("")
        self._restarts[spec.name].ready(time.monotonic())
        after_s = time.time() - (self._process(spec.name).started_at or time.time())
        self._journal.say("ready", process=spec.name, after_s=round(after_s, 3), since_start_s=self._age())
        self._start_those_due()
        if spec.info_url and (phases := await startup_phases(spec.info_url)):
            self._journal.say("startup", process=spec.name, seconds=phases)

    async def _watch_end(self, spec: ProcessSpec, child: Child) -> None:
        code = await child.ended
        self._journal.say("exit", process=spec.name, pid=child.pid, code=code, since_start_s=self._age())
        if self._children.get(spec.name) is not child:
            return  # restarted already: the probe is the new child's
        self._probes[spec.name].cancel()
        before = self._process(spec.name).state
        if before not in {ProcessState.STARTING, ProcessState.READY}:
            self._apply(spec.name, ProcessEvent.EXIT)
            return
        line = last_meaningful_line(self._rundir.logs / spec.log)
        # Nobody logs a SIGKILL: what was said before is not why.
        said = line and code != -signal.SIGKILL
        reason = f"{describe_exit(code)}: {line}" if said else describe_exit(code)
        if spec.name in self._frozen:
            self._frozen.discard(spec.name)
            reason = f"{_FROZEN}, and killed for that"
        self._apply(spec.name, ProcessEvent.EXIT, reason=reason, stage="")
        await self._recover(spec, child)

    async def _recover(self, spec: ProcessSpec, child: Child) -> None:
        """Clears away what a process left that ended by itself, and starts it again after a pause if it should be."""
        name = spec.name
        pause_s = self._restarts[name].ended(time.monotonic())
        if pause_s is not None:
            self._apply(name, ProcessEvent.RETRY, stage=f"starts again in {pause_s:g} s")
        await self._end_leftovers(name, child)
        if pause_s is None:
            return
        await asyncio.sleep(pause_s)
        async with self._changes:
            if self._children.get(name) is child and self._process(name).state is ProcessState.RESTARTING:
                self._change(name, restarts=self._process(name).restarts + 1)
                self._spawn(spec)

    async def _watch_frozen(self) -> None:
        """Kills processes that stand stopped: they hold their ports and answer nobody."""
        while not self.ended.is_set():
            await asyncio.sleep(_LOOK_S)
            for process in self._record.processes:
                if process.pid is None or process.state not in {ProcessState.STARTING, ProcessState.READY}:
                    continue
                stat = read_stat(process.pid)
                if stat is None or stat.start_ticks != process.start_ticks:
                    continue
                left_s = self._restarts[process.name].seen(frozen=stat.state == "T", now=time.monotonic())
                if left_s is None:
                    if process.name in self._frozen:
                        self._frozen.discard(process.name)
                        self._change(process.name, stage="")
                    continue
                self._frozen.add(process.name)
                self._change(process.name, stage=f"{_FROZEN}; killed in {left_s:.0f} s unless it goes on")
                if left_s == 0:
                    self._journal.say("kill", process=process.name, pid=process.pid, reason=_FROZEN)
                    send_signal(stat, signal.SIGKILL)

    async def _end_leftovers(self, name: str, child: Child) -> None:
        # What a crashed process leaves behind would hold its ports and its memory. Never while it is being
        # restarted: the new process carries the same marks.
        async with self._changes:
            gone = self._process(name).state in {ProcessState.CRASHED, ProcessState.RESTARTING}
            if self._children.get(name) is child and gone:
                await self._end([self._process(name)], lambda text: None)

    async def _end(self, processes: list[ProcessRecord], progress: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()

        def tell(text: str) -> None:
            loop.call_soon_threadsafe(progress, text)

        ending = await asyncio.to_thread(end_processes, self._record.id, self._record.host, processes, tell)
        for process in processes:
            if process.name not in ending.stuck and process.name != MODEL_STEP:
                self._apply(process.name, ProcessEvent.GONE)
        if ending.notice:
            self._journal.say("problem", text=ending.notice)
            self._held = ending.notice
            self._notice(ending.notice)

    def _keep(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)
        return task

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._journal.say("problem", text=f"internal error: {error!r}")
            self._notice(f"internal error of the runner: {clean_line(str(error))}")

    def _spec(self, name: str) -> ProcessSpec:
        spec = self._plan.process(name)
        if spec is None:
            known = ", ".join(spec.name for spec in self._plan.processes)
            raise NotFoundError("process", name, "is not a process of this run", f"name one of {known}")
        return spec

    def _process(self, name: str) -> ProcessRecord:
        return next(process for process in self._record.processes if process.name == name)

    def _age(self) -> float:
        return round(time.time() - self._record.created_at, 3)

    def _apply(self, name: str, event: ProcessEvent, **changes: object) -> None:
        before = self._process(name).state
        after = transition(before, event)
        if after is not before:
            reason = clean_line(str(changes.get("reason", "")))
            self._journal.say("state", process=name, before=before, after=after, reason=reason)
        self._change(name, state=after, **changes)

    def _change(self, name: str, **changes: object) -> None:
        processes = tuple(
            replace(process, **changes) if process.name == name else process  # type: ignore[arg-type]
            for process in self._record.processes
        )
        if processes != self._record.processes:
            self._record = replace(self._record, processes=processes)
            self._save()

    def _notice(self, text: str) -> None:
        if text != self._record.notice:
            self._record = replace(self._record, notice=text)
            self._save()

    def _save(self) -> None:
        state = run_state(
            (process.state for process in self._record.processes),
            stop_asked=self._stop_asked,
            was_ready=self._was_ready,
            failed=self._failed,
        )
        if state is not self._record.state:
            self._journal.say("run", before=self._record.state, after=state, since_start_s=self._age())
            self._record = replace(self._record, state=state)
        self._was_ready = self._was_ready or state is RunState.READY
        self._rundir.write(self._rundir.state, encode_record(self._record))
