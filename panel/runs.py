"""The runs of this user, as panel, CLI and notebook see them.

A client of runners: starts them, asks them, and reads what is on disk when they are gone. Ids and names that
come from outside are looked up among the known ones and never become paths by themselves.
"""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..engine.errors import ConflictError, NotFoundError, PdpanelError, PeerError
from . import ports
from .config import PanelConfig, inherited_environment
from .deployment import Deployment, dump_deployment
from .dialects.bundled_parallel import check_on_disk
from .dialects.registry import dialect_of
from .file_lock import locked
from .host_facts import HostFacts, this_host
from .launch import LaunchPlan, decode_plan
from .plan import RunIds, plan
from .planning.host_needs import needs_this_host
from .planning.node_facts import Nodes
from .planning.probed_ports import probed_ports
from .run_logs import log_of
from .run_start import adopt_run, create_run, resume_run, stop_without_runner, take_over_run
from .run_store import RunStore
from .rundir import RunDir, new_run_id
from .runner import protocol
from .runner.client import ask
from .runner.lifecycle import FINAL
from .runner.sample_range import SampleRange
from .runner.samples import SampleBatch, read_range, read_samples
from .runner.state import read_record
from .scaling.replan import Planner
from .simulate.seats import refuse_other_engines, seated
from .simulate.simulation import Simulation, simulation_of
from .start.consent import Consents
from .start.preflight import check_startable, local_addresses
from .state_dir import claim_state_dir, on_full_disk
from .unsupervised import without_runner
from .views import KnownViews, ProcessView, RunView, to_view

if TYPE_CHECKING:
    from .attach.request import AttachRequest
    from .history.run_history import RunHistory
    from .scaling.run_scaling import RunScaling

__all__ = ["Planner", "ProcessView", "RunView", "Runs"]

_STOP_SILENCE_S = 120.0
_EXIT_TIMEOUT_S = 10.0
_POLL_S = 0.01
# A longer stretch is read from the file, where its newest seconds may be missing.
_LIVE_S = 2 * 3600.0


class Runs:
    """All runs below one state folder; every call blocks until it is done.

    Args:
        config: where they are.
        planner: makes LaunchPlans of Deployments.
    """

    def __init__(self, config: PanelConfig, planner: Planner = plan) -> None:
        self._config = config
        self._store = RunStore(config)
        self._views = KnownViews()
        self._planner = planner

    @property
    def loads_dir(self) -> Path:
        """The folder of the benchmarks and their results."""
        return self._config.state_dir / "loads"

    @property
    def cache_dir(self) -> Path:
        """The folder of models and converted weights."""
        return self._config.cache_dir

    @property
    def simulation(self) -> Simulation | None:
        """The simulated host that these runs are of; None for this very host."""
        return simulation_of(self._config.state_dir)

    @property
    def consents(self) -> Consents:
        """The deployments from elsewhere that this user has agreed to start."""
        return Consents(self._config.state_dir / "agreed")

    @property
    def history(self) -> RunHistory:
        """The runs that have ended, and what they left on disk."""
        from .history.run_history import RunHistory  # only here: it would cost every start

        return RunHistory(self._config)

    @property
    def scaling(self) -> RunScaling:
        """More or fewer workers of a run that serves."""
        from .scaling.run_scaling import RunScaling  # only here: it would cost every start

        return RunScaling(self._config, self._store, self._planner, self._host_of, self._one_start)

    def list(self) -> builtins.list[RunView]:
        """Returns every run, the newest first."""
        records = [record for rundir in self._store.list() if (record := self._store.look(rundir)) is not None]
        records.sort(key=lambda record: (record.created_at, record.id), reverse=True)
        return [self._views.of(record, self._store.new(record.id).logs) for record in records]

    def get(self, run_id: str) -> RunView:
        """Returns one run.

        Raises:
            NotFoundError: there is no such run.
        """
        rundir = self._store.known(run_id)
        record = self._store.look(rundir)
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
        return self._plan(deployment, self._store.new(f"{deployment.name}-preview"))

    def check(self, launch: LaunchPlan, *, agreed: bool = True) -> None:
        """Raises ConfigError when a process of the plan cannot be started on this host; see `check_startable`."""
        if (simulation := self.simulation) is not None:
            refuse_other_engines(launch, simulation)
        here = local_addresses() if launch.addresses else frozenset()
        check_startable(launch, inherited_environment(), here, agreed=agreed)

    def start(self, deployment: Deployment) -> RunView:
        """Plans and starts a run, and returns as soon as its runner answers; its processes are starting then.

        Raises:
            ConfigError: the wished router port is taken, or this host cannot start one of its processes.
            PeerError: the runner did not come up.
        """
        now = time.time()
        with self._one_start():
            rundir = self._store.new(new_run_id(deployment.name, now))
            launch = self._plan(deployment, rundir)
            self.check(launch)
            record = create_run(self._store, rundir, launch, dump_deployment(deployment), now, self._config.webhook)
        return to_view(record, rundir.logs)

    def attach(self, request: AttachRequest) -> RunView:
        """Begins to watch a deployment that somebody else started; nothing of it is ever started or ended from here.

        Raises:
            ConfigError: something of it cannot be watched.
            PeerError: the runner did not come up.
        """
        from .attach.start import attach_run

        claim_state_dir(self._config.state_dir)
        rundir, record = attach_run(self._store, request, time.time(), self._config.webhook)
        return to_view(record, rundir.logs)

    def adopt(self, run_id: str) -> RunView:
        """Gives a run that has lost its runner a new one, which goes on where that one was.

        A run of which nothing lives is shown as ended from then on; one that has a runner is returned as it is.

        Raises:
            NotFoundError: there is no such run.
            ConflictError: it has ended.
            PeerError: the runner did not come up.
        """
        rundir = self._store.known(run_id)
        return to_view(adopt_run(self._store, rundir), rundir.logs)

    def take_over(self, run_id: str) -> RunView | None:
        """Does what `adopt` does; None where somebody else has given the run a runner, or ended it, by now."""
        rundir = self._store.known(run_id)
        record = take_over_run(self._store, rundir)
        return None if record is None else to_view(record, rundir.logs)

    def adopt_all(self, tell: Callable[[str], None] = lambda line: None) -> builtins.list[RunView]:
        """Adopts every run that has lost its runner, and returns those runs; one that fails stops no other.

        Args:
            tell: takes one sentence for each of them.
        """
        adopted: builtins.list[RunView] = []
        for rundir in self._store.list():
            record = read_record(rundir.state)
            if record is None or record.state in FINAL or rundir.is_supervised():
                continue
            try:
                view = self.adopt(rundir.run_id)
            except (PdpanelError, OSError) as error:
                tell(f"{rundir.run_id} could not be taken over: {error}")
                continue
            adopted.append(view)
            tell(f"{view.id} is {view.state}: {view.notice or 'it has a runner again'}")
        return adopted

    def resume(self, run_id: str) -> RunView:
        """Starts an ended run again in its directory, by its own plan; its logs and samples go on.

        Raises:
            NotFoundError: there is no such run.
            ConflictError: it has not ended.
            ConfigError: one of its ports is taken, or this host cannot start one of its processes.
            PeerError: the runner did not come up.
        """
        rundir = self._store.known(run_id)
        with self._one_start():
            record = resume_run(self._store, rundir, self.check)
        return to_view(record, rundir.logs)

    def restart(self, run_id: str, progress: Callable[[str], None] | None = None) -> RunView:
        """Stops all processes of a run and starts them anew; returns while they start.

        One that has lost its runner is adopted first, one that has ended is resumed.

        Raises:
            NotFoundError: there is no such run.
            ConflictError: it is stopping, or prepares its model, or a process does not end.
            ConfigError, PeerError: see `resume`.
        """
        rundir = self._store.known(run_id)
        if not rundir.is_supervised():
            if without_runner(self._store.record(rundir), rundir).state in FINAL:
                return self.resume(run_id)
            self.adopt(run_id)
        reply = ask(rundir, protocol.RestartRun(), _STOP_SILENCE_S, progress or (lambda text: None))
        return self.get(run_id) if reply.run is None else to_view(reply.run, rundir.logs)

    def stop(self, run_id: str, progress: Callable[[str], None] | None = None) -> RunView:
        """Ends a run: returns when its processes and its runner have ended and the ports are free.

        The view's `notice` names what does not end or who holds a port.

        Raises:
            NotFoundError: there is no such run.
            PeerError: its runner lives but does not answer.
        """
        rundir = self._store.known(run_id)
        tell = progress or (lambda text: None)
        deadline = time.monotonic() + _EXIT_TIMEOUT_S
        while True:
            try:
                reply = ask(rundir, protocol.Stop(), _STOP_SILENCE_S, tell)
                break
            except PeerError:
                ended = stop_without_runner(self._store, rundir, tell)
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
            PeerError: its runner does not answer.
            ConflictError: the run has ended, or its runner cannot do that now.
        """
        return self._command(run_id, name, protocol.StopProcess(name))

    def restart_process(self, run_id: str, name: str) -> RunView:
        """Ends one process of a run if it runs, and starts it anew; returns while it starts.

        Raises:
            NotFoundError: there is no such run or process.
            PeerError: its runner does not answer.
            ConflictError: the run has ended, or its runner cannot do that now.
        """
        return self._command(run_id, name, protocol.RestartProcess(name))

    def samples(self, run_id: str, since: int = 0, known: str = "") -> SampleBatch:
        """Returns up to 1800 rows after row `since`, from the runner or, without one, from the run's file.

        Args:
            run_id: the run.
            since: number of the last row that the caller has.
            known: `version` of the batch before; the series are left out while they are the same.
        """
        rundir = self._store.known(run_id)
        try:
            batch = ask(rundir, protocol.GetSamples(since, known)).samples
        except PeerError:
            batch = None
        return read_samples(rundir.samples, since, known) if batch is None else batch

    def range(
        self, run_id: str, from_s: float, to_s: float, most_rows: int = 1000, keys: tuple[str, ...] = ()
    ) -> SampleRange:
        """Returns the samples of a stretch of time, unix seconds, at a resolution that fits about `most_rows`.

        Args:
            run_id: the run.
            from_s: where it begins.
            to_s: where it ends.
            most_rows: rows that the caller can use.
            keys: the series wanted; none means all.
        """
        rundir = self._store.known(run_id)
        if to_s - from_s > _LIVE_S:
            # Days of samples are not worth that a runner misses its beat.
            found = read_range(rundir.samples, from_s, to_s, most_rows, keys)
            if found.rows:
                return found
        try:
            found = ask(rundir, protocol.GetRange(from_s, to_s, most_rows, keys)).range
        except (PeerError, ConflictError):  # there is none, or one of a version that does not know this
            found = None
        return read_range(rundir.samples, from_s, to_s, most_rows, keys) if found is None else found

    def plan(self, run_id: str) -> LaunchPlan:
        """Returns the plan that a run was started from."""
        return decode_plan(self._kept(run_id, "plan"))

    def deployment_text(self, run_id: str) -> str:
        """Returns the YAML of the Deployment that a run was started from."""
        return self._kept(run_id, "deployment").decode("utf-8")

    def log_path(self, run_id: str, name: str) -> Path:
        """Returns the log of a process, "runner"'s, "model"'s or a removed worker's; raises NotFoundError."""
        return log_of(self._store.known(run_id), self.plan(run_id), name)

    def _kept(self, run_id: str, what: Literal["plan", "deployment"]) -> bytes:
        rundir = self._store.known(run_id)
        try:
            return (rundir.plan if what == "plan" else rundir.deployment).read_bytes()
        except OSError as error:
            raise NotFoundError("run", run_id, f"has no {what}: {error.strerror}", "start it anew") from None

    def _host_of(self, deployment: Deployment) -> HostFacts:
        return this_host(
            ports.taken_ports(deployment.host, probed_ports(deployment, dialect_of(deployment)))
            | self._store.promised_ports().keys()
        )

    def _plan(self, deployment: Deployment, rundir: RunDir) -> LaunchPlan:
        host = self._host_of(deployment)
        # A path means what it means where the person stands, not in the run's directory.
        local = os.path.expanduser(deployment.model)
        found = deployment.model_copy(update={"model": os.path.abspath(local)}) if os.path.exists(local) else deployment
        ids = RunIds(rundir.run_id, str(rundir.path), str(self._config.cache_dir))
        nodes: Nodes = {}
        simulation = self.simulation
        if needs_this_host(deployment, host if simulation is None else None):
            from .planning.read_nodes import probe_this_host  # only here: it would cost every start

            nodes = {"": probe_this_host(inherited_environment(), simulation.files if simulation else None)}
        launch = self._planner(found, host, ids, nodes, None)
        check_on_disk(found, self._config.cache_dir)
        return launch if simulation is None else seated(launch, simulation, self._store.gpus_in_use())

    def _command(self, run_id: str, name: str, request: protocol.Request) -> RunView:
        rundir = self._store.known(run_id)
        if self.plan(run_id).process(name) is None:
            known = ", ".join(spec.name for spec in self.plan(run_id).processes)
            raise NotFoundError("process", name, "is not a process of this run", f"name one of {known}")
        if not rundir.is_supervised() and self.adopt(run_id).state in FINAL:
            raise ConflictError("run", run_id, "has ended", f"start it again with `pdpanel up --resume {run_id}`")
        reply = ask(rundir, request, _STOP_SILENCE_S)
        return self.get(run_id) if reply.run is None else to_view(reply.run, rundir.logs)

    @contextmanager
    def _one_start(self) -> Iterator[None]:
        # One start of this user at a time: between choosing a port and its use another could choose the same one.
        claim_state_dir(self._config.state_dir)
        with on_full_disk(self._config.state_dir), self._store.promises.one_start():
            with locked(self._config.state_dir / "start.lock"):
                yield

    def _await_exit(self, rundir: RunDir) -> None:
        deadline = time.monotonic() + _EXIT_TIMEOUT_S
        while time.monotonic() < deadline:
            if not rundir.is_supervised():
                return
            time.sleep(_POLL_S)
