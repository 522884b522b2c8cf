"""The runs of this user, as panel, CLI and notebook see them.

A client of runners: starts them, asks them, and reads what is on disk when they are gone. Ids and names that
come from outside are looked up among the known ones and never become paths by themselves.
"""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..engine.errors import ConflictError, NotFoundError, PdpanelError, PeerError
from . import ports
from .config import PanelConfig, inherited_environment
from .deployment import Deployment, dump_deployment
from .dialects.registry import dialect_of
from .file_lock import locked
from .host_facts import HostFacts, this_host
from .launch import LaunchPlan, decode_plan, encode_plan
from .plan import RunIds, plan
from .planning.host_needs import needs_this_host
from .planning.node_facts import Nodes
from .planning.probed_ports import probed_ports
from .rundir import RunDir, new_run_id
from .runner import protocol
from .runner.client import ask
from .runner.journal import tail_lines
from .runner.lifecycle import FINAL, RunState
from .runner.prepare import MODEL_STEP
from .runner.procfs import boot_id
from .runner.samples import SampleBatch, read_samples
from .runner.spawn import spawn_runner
from .runner.state import RunRecord, encode_record, initial_record, read_record
from .start.consent import Consents
from .start.preflight import check_startable, local_addresses
from .unsupervised import end_unsupervised, without_runner
from .views import ProcessView, RunView, to_view

__all__ = ["Planner", "ProcessView", "RunView", "Runs"]

Planner = Callable[[Deployment, HostFacts, RunIds, Nodes], LaunchPlan]

_START_TIMEOUT_S = 20.0
_STOP_SILENCE_S = 120.0
_EXIT_TIMEOUT_S = 10.0
_POLL_S = 0.01


class Runs:
    """All runs below one state folder; every call blocks until it is done.

    Args:
        config: where they are.
        planner: makes LaunchPlans of Deployments.
    """

    def __init__(self, config: PanelConfig, planner: Planner = plan) -> None:
        self._config = config
        self._planner = planner

    @property
    def consents(self) -> Consents:
        """The deployments from elsewhere that this user has agreed to start."""
        return Consents(self._config.state_dir / "agreed")

    def list(self) -> builtins.list[RunView]:
        """Returns every run, the newest first."""
        records = [record for rundir in self._rundirs() if (record := self._look(rundir)) is not None]
        records.sort(key=lambda record: (record.created_at, record.id), reverse=True)
        return [to_view(record, self._rundir(record.id).logs) for record in records]

    def get(self, run_id: str) -> RunView:
        """Returns one run.

        Raises:
            NotFoundError: there is no such run.
        """
        rundir = self._known(run_id)
        record = self._look(rundir)
        if record is None:
            raise NotFoundError("run", run_id, "has no readable state", "start it anew")
        return to_view(record, rundir.logs)

    def latest(self) -> RunView | None:
        """Returns the run that was started last, None if there is none."""
        return next(iter(self.list()), None)

    def preview(self, deployment: Deployment) -> LaunchPlan:
        """Returns the plan that `start` would start now, without starting or writing anything.

        Raises:
            ConfigError: the wished router port is taken.
        """
        return self._plan(deployment, self._rundir(f"{deployment.name}-preview"))

    def check(self, launch: LaunchPlan, *, agreed: bool = True) -> None:
        """Raises ConfigError when a process of the plan cannot be started on this host; see `check_startable`."""
        here = local_addresses() if launch.addresses else frozenset()
        check_startable(launch, inherited_environment(), here, agreed=agreed)

    def start(self, deployment: Deployment) -> RunView:
        """Plans and starts a run, and returns as soon as its runner answers; its processes are starting then.

        Raises:
            ConfigError: the wished router port is taken, or this host cannot start one of its processes.
            PeerError: the runner did not come up.
        """
        now = time.time()
        self._config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One start at a time: between choosing a port and its use another start could choose the same one.
        with locked(self._config.state_dir / "start.lock"):
            rundir = self._rundir(new_run_id(deployment.name, now))
            launch = self._plan(deployment, rundir)
            self.check(launch)
            rundir.create()
            rundir.write(rundir.deployment, dump_deployment(deployment).encode())
            rundir.write(rundir.plan, encode_plan(launch))
            for file in launch.files:
                target = rundir.path / file.path
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                rundir.write(target, file.text.encode())
            record = initial_record(rundir.run_id, launch, now, boot_id())
            rundir.write(rundir.state, encode_record(record))
            runner = spawn_runner(rundir)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                reply = ask(rundir, protocol.GetStatus())
                break
            except PeerError:
                if runner.poll() is None and time.monotonic() < deadline:
                    time.sleep(_POLL_S)
                    continue
                said = " ".join(tail_lines(rundir.runner_log, 1))
                raise PeerError(f"The runner of {rundir.run_id} did not come up: {said or 'it is silent'}.") from None
        return to_view(reply.run or record, rundir.logs)

    def stop(self, run_id: str, progress: Callable[[str], None] | None = None) -> RunView:
        """Ends a run: returns when its processes and its runner have ended and the ports are free.

        The view's `notice` names what does not end or who holds a port.

        Raises:
            NotFoundError: there is no such run.
            PeerError: its runner lives but does not answer.
        """
        rundir = self._known(run_id)
        tell = progress or (lambda text: None)
        deadline = time.monotonic() + _EXIT_TIMEOUT_S
        while True:
            try:
                reply = ask(rundir, protocol.Stop(), _STOP_SILENCE_S, tell)
                break
            except PeerError:
                ended = self._stop_without_runner(rundir, tell)
                if ended is not None:
                    return to_view(ended, rundir.logs)
                # A runner that is just coming or going holds the lock, but has no socket.
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
        if reply.run is not None and reply.run.state in FINAL:
            self._await_exit(rundir)
        return self.get(run_id) if reply.run is None else to_view(reply.run, rundir.logs)

    def stop_process(self, run_id: str, name: str) -> RunView:
        """Ends one process of a run and leaves it ended.

        Raises:
            NotFoundError: there is no such run or process.
            PeerError: the run has no runner that answers.
            ConflictError: the runner cannot do that now.
        """
        return self._command(run_id, name, protocol.StopProcess(name))

    def restart_process(self, run_id: str, name: str) -> RunView:
        """Ends one process of a run if it runs, and starts it anew; returns while it starts.

        Raises:
            NotFoundError: there is no such run or process.
            PeerError: the run has no runner that answers.
            ConflictError: the runner cannot do that now.
        """
        return self._command(run_id, name, protocol.RestartProcess(name))

    def samples(self, run_id: str, since: int = 0) -> SampleBatch:
        """Returns up to 1800 rows after row `since`, from the runner or, without one, from the run's file."""
        rundir = self._known(run_id)
        try:
            batch = ask(rundir, protocol.GetSamples(since)).samples
        except PeerError:
            batch = None
        return read_samples(rundir.samples, since) if batch is None else batch

    def plan(self, run_id: str) -> LaunchPlan:
        """Returns the plan that a run was started from."""
        rundir = self._known(run_id)
        try:
            return decode_plan(rundir.plan.read_bytes())
        except OSError as error:
            raise NotFoundError("run", run_id, f"has no plan: {error.strerror}", "start it anew") from None

    def deployment_text(self, run_id: str) -> str:
        """Returns the YAML of the Deployment that a run was started from."""
        rundir = self._known(run_id)
        try:
            return rundir.deployment.read_text(encoding="utf-8")
        except OSError as error:
            raise NotFoundError("run", run_id, f"has no deployment: {error.strerror}", "start it anew") from None

    def log_path(self, run_id: str, name: str) -> Path:
        """Returns the log of a process, of the runner ("runner") or of the model's preparation ("model").

        Raises:
            NotFoundError: there is no such run, or nothing of that name in it.
        """
        rundir = self._known(run_id)
        logs = {spec.name: rundir.logs / spec.log for spec in self.plan(run_id).processes}
        logs |= {"runner": rundir.runner_log, MODEL_STEP: rundir.logs / f"{MODEL_STEP}.log"}
        if name not in logs:
            raise NotFoundError("log", name, "is not part of this run", f"name one of {', '.join(logs)}")
        return logs[name]

    def _plan(self, deployment: Deployment, rundir: RunDir) -> LaunchPlan:
        host = this_host(
            ports.taken_ports(deployment.host, probed_ports(deployment, dialect_of(deployment)))
            | self._promised_ports()
        )
        # A path means what it means where the person stands, not in the run's directory.
        local = os.path.expanduser(deployment.model)
        found = deployment.model_copy(update={"model": os.path.abspath(local)}) if os.path.exists(local) else deployment
        ids = RunIds(rundir.run_id, str(rundir.path), str(self._config.cache_dir))
        nodes: Nodes = {}
        if needs_this_host(deployment):
            from .planning.read_nodes import probe_this_host  # only here: it would cost every start

            nodes = {"": probe_this_host(inherited_environment())}
        return self._planner(found, host, ids, nodes)

    def _promised_ports(self) -> frozenset[int]:
        """Returns the ports of runs that may not have bound them yet."""
        promised: set[int] = set()
        for rundir in self._rundirs():
            record = read_record(rundir.state)
            if record is not None and record.state not in FINAL and record.boot_id == boot_id():
                if not _expects_runner(record) and (lock := rundir.try_lock()) is not None:
                    os.close(lock)
                    continue
                promised.update(port for process in record.processes for port in process.ports.values())
        return frozenset(promised)

    def _command(self, run_id: str, name: str, request: protocol.Request) -> RunView:
        rundir = self._known(run_id)
        if self.plan(run_id).process(name) is None:
            known = ", ".join(spec.name for spec in self.plan(run_id).processes)
            raise NotFoundError("process", name, "is not a process of this run", f"name one of {known}")
        reply = ask(rundir, request, _STOP_SILENCE_S)
        return self.get(run_id) if reply.run is None else to_view(reply.run, rundir.logs)

    def _stop_without_runner(self, rundir: RunDir, tell: Callable[[str], None]) -> RunRecord | None:
        """Ends what is left of a run; None if there is a runner after all, or will be in a moment."""
        lock = rundir.try_lock()
        if lock is None:
            return None
        try:
            record = read_record(rundir.state)
            if record is None:
                raise NotFoundError("run", rundir.run_id, "has no readable state", "remove its folder")
            if _expects_runner(record):
                return None
            ended = end_unsupervised(record, tell)
            if ended != record:
                rundir.write(rundir.state, encode_record(ended))
        finally:
            os.close(lock)
        return ended

    def _await_exit(self, rundir: RunDir) -> None:
        deadline = time.monotonic() + _EXIT_TIMEOUT_S
        while time.monotonic() < deadline:
            if (lock := rundir.try_lock()) is not None:
                os.close(lock)
                return
            time.sleep(_POLL_S)

    def _look(self, rundir: RunDir) -> RunRecord | None:
        record = read_record(rundir.state)
        if record is None or record.state is RunState.STOPPED:
            return record
        try:
            return ask(rundir, protocol.GetStatus()).run
        except (PeerError, ConflictError):
            pass
        if record.state in FINAL:
            return replace(record, runner_pid=None)
        if _expects_runner(record):
            return record
        lock = rundir.try_lock()
        if lock is None:
            return replace(record, notice=record.notice or "its runner does not answer")
        os.close(lock)
        # It may have ended properly between the two looks.
        record = read_record(rundir.state) or record
        return record if record.state in FINAL else without_runner(record)

    def _rundirs(self) -> builtins.list[RunDir]:
        try:
            return [RunDir(path) for path in sorted(self._config.runs_dir.iterdir()) if (path / "state.json").exists()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PdpanelError(f"The runs in {self._config.runs_dir} cannot be read: {error.strerror}.") from None

    def _rundir(self, run_id: str) -> RunDir:
        return RunDir(self._config.runs_dir / run_id)

    def _known(self, run_id: str) -> RunDir:
        for rundir in self._rundirs():
            if rundir.run_id == run_id:
                return rundir
        raise NotFoundError("run", run_id, "is not a run of this user", "name one that `pdpanel status` lists")


def _expects_runner(record: RunRecord) -> bool:
    """Returns True for a run so young that its runner may not have taken it over yet."""
    untouched = record.state is RunState.STARTING and record.runner_pid is None
    return untouched and 0 <= time.time() - record.created_at < _START_TIMEOUT_S
