"""What another number of workers means for a run on this host: shown first, then handed to the run's runner.

The shell around the pure plan and its difference: reads the run's directory, this host's memory and what the run's
workers use. `panel.runs` calls it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from ...engine.errors import ConflictError, NotFoundError
from ...nic_probe.finding import Finding
from ..config import PanelConfig, inherited_environment
from ..deployment import Deployment, dump_deployment, parse_deployment_text
from ..host_facts import HostFacts
from ..launch import LaunchPlan, ProcessSpec, Role, decode_plan
from ..plan import RunIds
from ..planning.host_needs import needs_this_host
from ..planning.kept import Kept
from ..planning.node_facts import Nodes
from ..redact import redact
from ..run_store import RunStore
from ..rundir import RunDir
from ..runner import protocol
from ..runner.client import ask
from ..runner.lifecycle import FINAL, RunState
from ..simulate.seats import seated
from ..simulate.simulation import Simulation, simulation_of
from ..views import RunView, to_view
from .difference import PlanDifference, compare
from .proposal import digest_of, propose
from .replan import Planner, replanned
from .room import Room, findings_of, room_of
from .scaled import counts_of, scaled
from .text import lines_of

__all__ = ["RunScaling", "ScalePreview"]

# A worker that loads its weights says nothing for a while; the runner tells of every stage.
_SILENCE_S = 900.0


@dataclass(frozen=True, slots=True)
class ScalePreview:
    """What a change of a run's workers would do.

    Attributes:
        id: stands for exactly this change; whoever asks for it names that.
        before: the workers of each role now.
        after: the workers of each role then.
        lines: (sign, text) for people, without secrets.
        room: what the host has for it.
        findings: what speaks against it.
    """

    id: str
    before: Mapping[Role, int]
    after: Mapping[Role, int]
    difference: PlanDifference
    lines: tuple[tuple[str, str], ...]
    room: Room
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    old: LaunchPlan
    new: LaunchPlan
    before: Deployment
    after: Deployment


class RunScaling:
    """Plans changes of the workers of runs.

    Args:
        config: where things are.
        store: the runs.
        planner: makes plans.
        host_of: tells what is free on this host for a deployment.
        one_start: held while ports are chosen and promised.
    """

    def __init__(
        self,
        config: PanelConfig,
        store: RunStore,
        planner: Planner,
        host_of: Callable[[Deployment], HostFacts],
        one_start: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._config = config
        self._store = store
        self._planner = planner
        self._host_of = host_of
        self._one_start = one_start
        self._simulation = simulation_of(config.state_dir)

    def preview(self, run_id: str, counts: Mapping[Role, int]) -> ScalePreview:
        """Returns what another number of workers would change of a run; nothing happens to it.

        Raises:
            NotFoundError: there is no such run.
            ConflictError: it is not in a state in which it could change.
            ConfigError, CapacityError: it cannot have so many, and why.
        """
        rundir = self._store.known(run_id)
        wanted = self._wanted(rundir, counts)
        difference = compare(wanted.old, wanted.new)
        after = counts_of(wanted.after)
        cores = len(os.sched_getaffinity(0))
        room = room_of(difference, sum(after.values()), self._used(rundir), cores, _available_bytes())
        return ScalePreview(
            id=digest_of(wanted.old, wanted.new, dump_deployment(wanted.after)),
            before=counts_of(wanted.before),
            after=after,
            difference=difference,
            lines=tuple((sign, redact(text)) for sign, text in lines_of(difference)),
            room=room,
            findings=(*findings_of(room, on_cpu=wanted.new.dialect == "bundled"), *_new_findings(wanted)),
        )

    def apply(
        self, run_id: str, counts: Mapping[Role, int], shown: str, progress: Callable[[str], None] | None = None
    ) -> RunView:
        """Gives a run another number of workers; returns when the new ones serve and the others have ended.

        Args:
            run_id: the run.
            counts: the workers of each role that changes.
            shown: the id of the preview that the person has agreed to.
            progress: takes what is going on.

        Raises:
            ConflictError: it has changed since, or something of it fails; what happened is in the run's state.
            NotFoundError, ConfigError, CapacityError: as `preview`.
            PeerError: its runner does not answer.
        """
        rundir = self._store.known(run_id)
        with self._one_start():
            wanted = self._wanted(rundir, counts)
            text = dump_deployment(wanted.after)
            if digest_of(wanted.old, wanted.new, text) != shown:
                problem = "has changed since the difference was shown"
                raise ConflictError("run", run_id, problem, "look at it again")
            self._promise(rundir, (*wanted.old.processes, *wanted.new.processes))
            digest = propose(rundir, wanted.old, wanted.new, text)
        try:
            reply = ask(rundir, protocol.ChangePlan(digest), _SILENCE_S, progress or (lambda text: None))
        finally:
            with self._one_start():
                self._promise(rundir, self._plan(rundir).processes)
        assert reply.run is not None
        return to_view(reply.run, rundir.logs)

    def _promise(self, rundir: RunDir, processes: tuple[ProcessSpec, ...]) -> None:
        ports = {port: None for spec in processes for port in spec.ports.values()}
        self._store.promises.make(rundir, list(ports))

    def _wanted(self, rundir: RunDir, counts: Mapping[Role, int]) -> _Wanted:
        old = self._plan(rundir)
        record = self._store.look(rundir)
        if record is None or record.state in FINAL:
            state = "unreadable" if record is None else str(record.state)
            raise ConflictError("run", rundir.run_id, f"has ended: it is {state}", "clone it with other numbers")
        if old.attached:
            remedy = "scale it where it was started"
            raise ConflictError("run", rundir.run_id, "was not started here, so it is only watched", remedy)
        if record.state is RunState.UNSUPERVISED:
            remedy = f"take it over with `pdpanel adopt --run {rundir.run_id}`"
            raise ConflictError("run", rundir.run_id, "has no runner that could do that", remedy)
        if record.stop_asked or not record.was_ready:
            raise ConflictError("run", rundir.run_id, f"is {record.state}", "wait until it is ready")
        before = parse_deployment_text(rundir.deployment.read_text(encoding="utf-8"), "the run's deployment")
        after = scaled(before, counts)
        nodes: Nodes = {}
        if needs_this_host(after, None if self._simulation else self._host_of(after)):
            from ..planning.read_nodes import probe_this_host  # only here: it takes half a second

            files = self._simulation.files if self._simulation else None
            nodes = {"": probe_this_host(inherited_environment(), files)}
        ids = RunIds(rundir.run_id, str(rundir.path), str(self._config.cache_dir))

        def planned(
            deployment: Deployment, host: HostFacts, ids: RunIds, nodes: Nodes, kept: Kept | None
        ) -> LaunchPlan:
            launch = self._planner(deployment, host, ids, nodes, kept)
            return launch if self._simulation is None else self._seated(launch, old, self._simulation)

        return _Wanted(old, replanned(old, after, self._host_of(after), ids, nodes, planned), before, after)

    def _seated(self, launch: LaunchPlan, old: LaunchPlan, simulation: Simulation) -> LaunchPlan:
        known = {spec.name: spec for spec in old.processes}
        added = tuple(spec for spec in launch.processes if spec.name not in known)
        placed = seated(replace(launch, processes=added), simulation, self._store.gpus_in_use())
        fresh = {spec.name: spec for spec in placed.processes}

        def of(spec: ProcessSpec) -> ProcessSpec:
            before = known.get(spec.name)
            return fresh[spec.name] if before is None else replace(spec, gpus=before.gpus, nics=before.nics)

        return replace(placed, processes=tuple(of(spec) for spec in launch.processes))

    def _plan(self, rundir: RunDir) -> LaunchPlan:
        try:
            return decode_plan(rundir.plan.read_bytes())
        except OSError as error:
            raise NotFoundError("run", rundir.run_id, f"has no plan: {error.strerror}", "start it anew") from None

    def _used(self, rundir: RunDir) -> dict[Role, int]:
        """Returns the bytes that a worker of each role takes now: the most that one of them does."""
        record = self._store.look(rundir)
        used: dict[Role, int] = {}
        for process in record.processes if record is not None else ():
            if process.rss_bytes is not None:
                used[process.role] = max(process.rss_bytes, used.get(process.role, 0))
        return used


def _new_findings(wanted: _Wanted) -> Iterator[Finding]:
    known = {(finding.id, finding.subject) for finding in wanted.old.findings}
    yield from (finding for finding in wanted.new.findings if (finding.id, finding.subject) not in known)


def _available_bytes() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
