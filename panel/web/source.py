"""The real runs as the web part wants them: `panel.runs` in, `port` values out.

Only translation: no decision about runs is made here. Called from worker threads by `hub` and `api`.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...engine.errors import ConfigError, PdpanelError
from ..caretaker import Caretaker
from ..config import inherited_environment
from ..deployment import parse_deployment_text
from ..doctor_text import finding_json
from ..launch import ProcessSpec, Role
from ..load.jobs import Loads
from ..profile import Profiles, can_profile
from ..proof.keep import key_of_run
from ..rank_sizes import ranks_of_process
from ..report.gather import RunReports
from ..runner.lifecycle import ProcessState
from ..runs import ProcessView as RunProcess
from ..runs import Runs
from ..runs import RunView as RealRun
from ..simulate.idle import IdleCounters
from ..simulate.proof import prover
from ..simulate.view import places_of, simulated_host
from ..start.consent import ConsentError, consent_id, needs_consent
from ..verdict.look import Look
from .attach_port import Attachments
from .attach_source import RunsAttachments
from .bench_port import Bench
from .deploy_form import deployment_of_form
from .deploy_port import RunCommands, StartChecks
from .hardware import describe_file, describe_simulated, describe_this_host
from .history_port import History
from .host_series import HostSampler
from .host_sources import TrafficSource, this_host_sources
from .port import (
    Choices,
    DeployForm,
    HostTraffic,
    Offer,
    OfferedProcess,
    ProcessView,
    RunView,
    SampleBatch,
    SampleStretch,
)
from .profile_port import ProfilePort
from .proof_port import Proofs
from .proof_source import RunProofs
from .ranks_port import RanksPort
from .ranks_source import RunRanks
from .report_port import Reports
from .run_commands import RunsCommands
from .scale_port import Scaling
from .scale_source import RunsScaling
from .series_views import SeriesCache, to_series_list
from .stages import StageLog
from .start_checks import RunsStartChecks
from .verdict_port import Verdicts
from .verdict_source import RunVerdicts

__all__ = ["RunsSource"]

_ROLES = tuple(role.value for role in Role)
# A further node of a worker: its first one speaks for it.
_NODE = re.compile(r"-rank[0-9]+$")
_SHARE = re.compile(r"\b(\d+(?:\.\d+)?) of (\d+(?:\.\d+)?) [kMG]?B\b")


def _share(notice: str) -> float | None:
    """Returns the share of a download that a notice such as "fetching X 45 of 93 MB" tells."""
    match = _SHARE.search(notice)
    if match is None or float(match[2]) == 0:
        return None
    return min(1.0, float(match[1]) / float(match[2]))


def _watched_state(process: RunProcess) -> str:
    """Returns the state of a process that is only watched: whether it starts or ended nobody here knows."""
    if process.state is ProcessState.RESTARTING and process.stage:
        return process.stage
    return "not answering" if process.state is ProcessState.STARTING else str(process.state)


def _to_process(process: RunProcess, after: tuple[str, ...], attached: bool) -> ProcessView:
    return ProcessView(
        name=process.name,
        role=str(process.role),
        state=_watched_state(process) if attached else str(process.state),
        stage="" if attached and process.state is ProcessState.RESTARTING else process.stage,
        pid=process.pid,
        port=process.port or None,
        started_s=process.started_at if process.pid is not None else None,
        cpu_percent=process.cpu_percent,
        rss_bytes=process.rss_bytes,
        restarts=process.restarts,
        message=process.reason,
        progress=process.progress,
        exit_code=process.exit_code,
        findings=tuple(finding_json(finding) for finding in process.findings),
        after=after,
    )


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a process's plan says of it."""

    ranks: int = 1
    can_profile: bool = False


def _to_run(
    run: RealRun, after: Mapping[str, tuple[str, ...]], places: Mapping[str, str], facts: Mapping[str, _Facts]
) -> RunView:
    ordered = sorted(run.processes, key=lambda process: _ROLES.index(str(process.role)))
    of_role = {
        role: [
            process.name for process in run.processes if str(process.role) == role and not _NODE.search(process.name)
        ]
        for role in ("prefill", "decode")
    }

    def shown(one: RunProcess) -> ProcessView:
        known = facts.get(one.name, _Facts())
        view = _to_process(one, after.get(one.name, ()), run.attached)
        return replace(view, place=places.get(one.name, ""), ranks=known.ranks, can_profile=known.can_profile)

    return RunView(
        id=run.id,
        state=str(run.state),
        mode="pd" if of_role["prefill"] else "unified",
        model=run.model,
        transport=run.transport,
        router_url=run.router_url.rstrip("/"),
        created_s=run.created_at,
        processes=tuple(shown(one) for one in ordered),
        links=tuple((one, two) for one in of_role["prefill"] for two in of_role["decode"]),
        other_logs=("model", "runner"),
        notice=run.notice,
        progress=_share(run.notice),
        can_stop=run.supervised or str(run.state) == "unsupervised",
        name=run.name,
        ended_s=run.ended_at,
        attached=run.attached,
        resumed_s=run.resumed_at,
        adopted_s=run.adopted_at,
        removed=run.removed,
        simulated=run.simulated,
    )


def _own_folder(spec: ProcessSpec) -> str:
    """Returns the folder that the deployment starts a process in; empty for the run's."""
    return "" if Path(spec.cwd).name == spec.env.get("PDPANEL_RUN_ID") else spec.cwd


class RunsSource:
    """The `Source` over a `Runs`.

    Args:
        runs: the runs of this user.
        choices: what the Deploy form offers.
        caretaker: who gives runs without a runner a new one; None for nobody.
    """

    def __init__(self, runs: Runs, choices: Choices | None = None, caretaker: Caretaker | None = None) -> None:
        self.choices = choices or Choices()
        self._runs = runs
        self._caretaker = caretaker
        self._simulation = runs.simulation
        self.simulated = self._simulation is not None
        self.simulation = None if self._simulation is None else simulated_host(self._simulation)
        self._sampler: HostSampler | None = None
        self._idle: IdleCounters | None = None
        self._translated = SeriesCache()
        self._lock = threading.Lock()
        self._stages = StageLog(time.time)
        self.start_checks: StartChecks = RunsStartChecks(runs)
        self.run_commands: RunCommands = RunsCommands(runs)
        self.attach: Attachments = RunsAttachments(runs)
        self.bench: Bench = Loads(runs.loads_dir)
        self.history: History = runs.history
        self.reports: Reports = RunReports(runs)
        self.scaling: Scaling = RunsScaling(runs)
        self.verdict: Verdicts = RunVerdicts(Look(runs).verdict)
        self.proof: Proofs = RunProofs(runs, prover(self._simulation, lambda run_id: key_of_run(runs, run_id)))
        self.profiles: ProfilePort = Profiles(lambda run_id: runs.plan(run_id))
        self.ranks: RanksPort = RunRanks(lambda run_id: runs.plan(run_id), lambda: runs.cache_dir)
        self._orders: dict[str, Mapping[str, tuple[str, ...]]] = {}
        self._places: dict[tuple[str, ...], Mapping[str, str]] = {}
        self._ended: dict[str, tuple[RealRun, RunView]] = {}
        self._facts: dict[str, tuple[tuple[str, ...], Mapping[str, _Facts]]] = {}

    def runs(self) -> Sequence[RunView]:
        """Returns the runs, newest first."""
        shown = {run.id: self._shown(run) for run in self._runs.list()}
        self._ended = {run_id: both for run_id, both in shown.items() if both[0].ended_at is not None}
        self._facts = {run_id: facts for run_id, facts in self._facts.items() if run_id in shown}
        return self._stages.seen([view for _, view in shown.values()])

    def _shown(self, run: RealRun) -> tuple[RealRun, RunView]:
        """Returns a run with its translation; of an ended run, which stays the same object, the one before."""
        known = self._ended.get(run.id)
        if known is not None and known[0] is run:
            return known
        return run, _to_run(self._expected(run), self._after(run), self._placed(run), self._planned(run))

    def _planned(self, run: RealRun) -> Mapping[str, _Facts]:
        """Returns what the plan says of a run's processes while it goes on; it is read once, and after a change."""
        if run.ended_at is not None:
            return {}
        names = tuple(process.name for process in run.processes)
        known = self._facts.get(run.id)
        if known is None or known[0] != names:
            try:
                plan = self._runs.plan(run.id)
            except PdpanelError:
                return {}
            found = {spec.name: _Facts(ranks_of_process(spec), can_profile(spec, plan)) for spec in plan.processes}
            self._facts[run.id] = known = (names, found)
        return known[1]

    def _expected(self, run: RealRun) -> RealRun:
        """Returns a run that has lost its runner with what will become of it in its notice."""
        if self._caretaker is None or str(run.state) != "unsupervised" or run.left:
            return run
        return replace(run, notice=f"{run.notice}; {self._caretaker.notice(run.id)}")

    def _placed(self, run: RealRun) -> Mapping[str, str]:
        """Returns where the processes of a simulated run are shown; its plan is read once, and after a change."""
        if not run.simulated:
            return {}
        key = (run.id, *(process.name for process in run.processes))
        if key not in self._places:
            try:
                self._places[key] = places_of(self._runs.plan(run.id))
            except PdpanelError:
                return {}
        return self._places[key]

    def _after(self, run: RealRun) -> Mapping[str, tuple[str, ...]]:
        """Returns what each process of a run waits for; asked of the plan only while one waits."""
        if not any(str(process.state) == "pending" for process in run.processes):
            return {}
        if not self._orders.get(run.id, {}).keys() >= {process.name for process in run.processes}:
            try:
                self._orders[run.id] = {spec.name: spec.after for spec in self._runs.plan(run.id).processes}
            except PdpanelError:
                return {}
        return self._orders[run.id]

    def start(self, form: DeployForm) -> str:
        """Starts what the form asks for; raises ConfigError for a field that is wrong."""
        return self._runs.start(deployment_of_form(form)).id

    def offer(self, text: str) -> Offer:
        """Returns what the deployment in a YAML text would start here."""
        deployment = parse_deployment_text(text, "the text")
        problem = ""
        plan = self._runs.preview(deployment)
        needed = needs_consent(deployment) and not self._runs.consents.given(deployment)
        try:
            # An offer runs nothing that the person has not seen.
            self._runs.check(plan, agreed=not needed)
        except ConfigError as error:
            problem = str(error)
        processes = tuple(OfferedProcess(spec.name, spec.argv, spec.env, _own_folder(spec)) for spec in plan.processes)
        return Offer(consent_id(deployment), needed, processes, problem)

    def start_text(self, text: str, consent: str) -> str:
        """Starts the deployment in a YAML text; raises ConsentError when that wants an agreement."""
        deployment = parse_deployment_text(text, "the text")
        consents = self._runs.consents
        if needs_consent(deployment) and not consents.given(deployment):
            if consent != consent_id(deployment):
                raise ConsentError("Look at what this deployment would run, and agree to it, before it is started.")
            consents.give(deployment)
        return self._runs.start(deployment).id

    def stop(self, run_id: str) -> None:
        """Ends all processes of the run."""
        self._runs.stop(run_id)

    def stop_process(self, run_id: str, name: str) -> None:
        """Ends one process."""
        self._runs.stop_process(run_id, name)

    def restart_process(self, run_id: str, name: str) -> None:
        """Ends one process, if it lives, and starts it again."""
        self._runs.restart_process(run_id, name)

    def samples(self, run_id: str, since: int) -> SampleBatch:
        """Returns the samples after number `since`, of the series that the charts show."""
        batch = self._runs.samples(run_id, since, self._translated.version(run_id))
        series = self._translated.of(run_id, batch.series, batch.version)
        keys = self._translated.keys(run_id)
        rows = tuple((row.t, {key: value for key, value in row.values.items() if key in keys}) for row in batch.rows)
        return SampleBatch(batch.last_seq, series, rows)

    def range(
        self, run_id: str, from_s: float, to_s: float, points: int, groups: Collection[str] = ()
    ) -> SampleStretch:
        """Returns the samples between two times, of the series that the charts show."""
        known = self._translated.of(run_id, {})
        keys = tuple(view.key for view in known if view.group in groups) if groups else ()
        found = self._runs.range(run_id, from_s, to_s, points, keys)
        return SampleStretch(
            found.step_s,
            to_series_list(found.series.values()),
            tuple((row.t, row.values) for row in found.rows),
            tuple(row.peaks for row in found.rows) if any(row.peaks for row in found.rows) else (),
        )

    def log_path(self, run_id: str, name: str) -> Path:
        """Returns the log of a process, of the model's preparation or of the runner."""
        return self._runs.log_path(run_id, name)

    def hardware(self) -> Mapping[str, object]:
        """Returns what this host is."""
        if self._simulation is not None:
            return describe_simulated(self._simulation.files, self._simulation.name)
        return describe_this_host(inherited_environment())

    def inspect_hardware(self, path: Path, name: str) -> Mapping[str, object]:
        """Returns what the host in a dump or topology file is; raises SourceError for another file."""
        return describe_file(path, name)

    def host_traffic(self) -> HostTraffic | None:
        """Returns the newest sample of this host's links; the first call starts the sampler."""
        with self._lock:
            if self._sampler is None:
                self._sampler = HostSampler(self._find_links)
                self._sampler.start()
                if self._simulation is not None:
                    self._idle = IdleCounters(self._simulation)
                    self._idle.start()
            return self._sampler.latest()

    def _find_links(self) -> Sequence[TrafficSource]:
        if self._simulation is None:
            return this_host_sources()
        return this_host_sources(self._simulation.files, str(self._simulation.root))

    def close(self) -> None:
        """Ends the sampler."""
        with self._lock:
            if self._idle is not None:
                self._idle.close()
            if self._sampler is not None:
                self._sampler.close()
