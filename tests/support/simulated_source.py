"""Simulated runs behind the panel's pages, for tests that need no engine.

Processes become ready after a moment, samples follow a smooth made-up load, logs grow. Nothing is started on
the host, and nothing here is measured. Speaks only `panel.web.port`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pdpanel.engine.errors import ConfigError, NotFoundError
from pdpanel.panel.bench.panel_load import MadeUpLoad
from pdpanel.panel.deployment import parse_deployment_text
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import ProcessSpec
from pdpanel.panel.load.jobs import Loads
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.start.consent import ConsentError, consent_id, needs_consent
from pdpanel.panel.web.attach_port import AttachForm, Attachments
from pdpanel.panel.web.bench_port import Bench
from pdpanel.panel.web.deploy_port import RunCommands, StartChecks
from pdpanel.panel.web.hardware import describe, describe_file, describe_this_host
from pdpanel.panel.web.history_port import History
from pdpanel.panel.web.port import (
    Choices,
    DeployForm,
    HostTraffic,
    Offer,
    OfferedProcess,
    RunView,
    SampleBatch,
    SampleStretch,
    SeriesView,
)
from pdpanel.panel.web.profile_port import ProfilePort
from pdpanel.panel.web.proof_port import Proofs
from pdpanel.panel.web.ranks_port import RanksPort
from pdpanel.panel.web.report_port import Reports
from pdpanel.panel.web.scale_port import Scaling
from pdpanel.panel.web.series_views import to_series_list
from pdpanel.panel.web.stages import StageLog
from pdpanel.panel.web.verdict_port import Verdicts
from sample_hosts import HOSTS, findings_of
from simulated_attach import SimulatedAttachments
from simulated_commands import SimulatedChecks, SimulatedCommands
from simulated_history import SimulatedHistory, SimulatedReports
from simulated_places import OnRealHost
from simulated_profiles import SimulatedProfiles, SimulatedRanks
from simulated_proofs import SimulatedProofs
from simulated_scaling import SimulatedScaling, resized
from simulated_start import crash, crashes, processes_of, stage_at
from simulated_traffic import simulated_traffic
from simulated_verdicts import SimulatedVerdicts

__all__ = ["SimulatedSource"]

_RATE_HZ = 2
_KEPT = 1800
_BATCH = 600


@dataclass(slots=True)
class _SimulatedRun:
    view: RunView
    number: int
    seq: int = 0
    samples: list[tuple[int, float, Mapping[str, float]]] = field(default_factory=list)
    log_lines: int = 0


def _sample(host: str, name: str = "") -> Mapping[str, object]:
    document = HOSTS[host]()
    if name:
        document["host"]["live"] = False
    return describe(document, findings_of(document), name)


class SimulatedSource(OnRealHost):
    """A `Source` whose runs exist in memory alone.

    Args:
        folder: where the logs are written.
        router_url: what Try it asks; a simulated run has no router of its own.
        ready_after_s: how long a process takes to become ready.
        clock: seconds since 1970.

    Attributes:
        calls: every action that was asked for, oldest first.
        gaps: intervals (from, to) in which no samples exist.
        missing: first parts of keys, such as `gpu`, that this host does not have.
    """

    def __init__(
        self,
        folder: Path,
        router_url: str = "http://127.0.0.1:8000",
        ready_after_s: float = 2.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.choices = Choices()
        self.calls: list[tuple[object, ...]] = []
        self.history: History = SimulatedHistory(ended=self._ended, forget=self._forget)
        self.reports: Reports = SimulatedReports()
        self.proof: Proofs = SimulatedProofs()
        self.verdict: Verdicts = SimulatedVerdicts()
        self.gaps: list[tuple[float, float]] = []
        self.missing: set[str] = set()
        self._folder = folder
        self._router_url = router_url
        self._ready_after_s = ready_after_s
        self._clock = clock
        self._runs: dict[str, _SimulatedRun] = {}
        self._count = 0
        self._orphans: set[str] = set()
        self._stages = StageLog(clock)
        self.bench: Bench = Loads(folder / "loads")
        self.start_checks: StartChecks = SimulatedChecks()
        self.attach: Attachments = SimulatedAttachments(self._attached)
        self.run_commands: RunCommands = SimulatedCommands(
            lambda run_id: self._run(run_id).view,
            self._again,
            self._adopted,
            self._end,
            lambda *call: self.calls.append(call),
        )
        self.scaling: Scaling = SimulatedScaling(
            lambda run_id: self._run(run_id).view, self._resize, lambda *call: self.calls.append(call)
        )
        self.profiles: ProfilePort = SimulatedProfiles(
            folder / "profiles", lambda run_id: self._run(run_id).view, lambda *call: self.calls.append(call), clock
        )
        self.ranks: RanksPort = SimulatedRanks(lambda run_id: self._run(run_id).view)
        self._lock = threading.RLock()

    def runs(self) -> Sequence[RunView]:
        """Returns the simulated runs, newest first."""
        with self._lock:
            for run in self._runs.values():
                self._advance(run)
            return self._stages.seen([run.view for run in reversed(self._runs.values())])

    def offer(self, text: str) -> Offer:
        deployment = parse_deployment_text(text, "the text")
        made = plan(deployment, HostFacts("here", 2, "/opt/python"), RunIds("r", "/runs/r", "/cache"))
        processes = tuple(OfferedProcess(spec.name, spec.argv, spec.env) for spec in made.processes)
        return Offer(consent_id(deployment), needs_consent(deployment), processes)

    def start_text(self, text: str, consent: str) -> str:
        deployment = parse_deployment_text(text, "the text")
        if needs_consent(deployment) and consent != consent_id(deployment):
            raise ConsentError("Look at what this deployment would run, and agree to it, before it is started.")
        mode = "unified" if deployment.unified.count else "pd"
        counts = (deployment.prefill.count or 1, deployment.decode.count or 1)
        unified = deployment.unified.count or 1
        return self.start(DeployForm(mode, deployment.model, *counts, deployment.transport, unified))

    def start(self, form: DeployForm) -> str:
        """Adds a run; a model named `missing` is refused like an unknown one, an `orphan` loses its runner."""
        with self._lock:
            self.calls.append(("start", form))
            if form.model == "missing":
                raise ConfigError("model", form.model, "is not known", "name one of the list or a file")
            self._count += 1
            number = self._count
            now = self._clock()
            port = int(self._router_url.rpartition(":")[2])
            processes = processes_of(form, number, port)
            prefills = [process.name for process in processes if process.role == "prefill"]
            decodes = [process.name for process in processes if process.role == "decode"]
            view = RunView(
                id=f"demo-{number}",
                state="starting",
                mode=form.mode,
                model=form.model,
                transport=form.transport,
                router_url=self._router_url,
                created_s=now,
                processes=tuple(replace(process, state="starting", started_s=now) for process in processes),
                links=tuple((prefill, decode) for prefill in prefills for decode in decodes),
                other_logs=("model",),
                name="pd",
            )
            self._runs[view.id] = _SimulatedRun(view, number)
            if "orphan" in form.model:
                self._orphans.add(view.id)
            return view.id

    def _attached(self, form: AttachForm) -> str:
        run_id = self.start(DeployForm("pd", "watched-model", 1, 1, "tcp"))
        with self._lock:
            run = self._run(run_id)
            run.view = replace(run.view, attached=True, name=form.name)
        return run_id

    def stop(self, run_id: str) -> None:
        """Ends all processes of the run."""
        with self._lock:
            self.calls.append(("stop", run_id))
            self._end(run_id)

    def _end(self, run_id: str) -> None:
        with self._lock:
            run = self._run(run_id)
            for process in run.view.processes:
                self._set(run, process.name, state="stopped", pid=None, started_s=None)
            run.view = replace(run.view, state="stopped", notice="", can_stop=False, ended_s=self._clock())

    def _ended(self) -> Sequence[RunView]:
        with self._lock:
            return [run.view for run in reversed(self._runs.values()) if run.view.state == "stopped"]

    def _forget(self, run_id: str) -> None:
        with self._lock:
            self._runs.pop(run_id, None)

    def _adopted(self, run_id: str) -> None:
        with self._lock:
            self._orphans.discard(run_id)

    def _again(self, run_id: str) -> None:
        with self._lock:
            run, now = self._run(run_id), self._clock()
            for process in run.view.processes:
                pid = (process.pid or run.number * 100) + 1000
                self._set(run, process.name, state="starting", pid=pid, started_s=now, stage="starting")
            run.view = replace(run.view, state="starting", can_stop=True, ended_s=None)

    def _resize(self, run_id: str, added: Sequence[ProcessSpec], removed: Sequence[str]) -> None:
        with self._lock:
            run = self._run(run_id)
            run.view = resized(run.view, run.number, added, removed, self._clock())

    def stop_process(self, run_id: str, name: str) -> None:
        """Ends one process."""
        with self._lock:
            self.calls.append(("stop_process", run_id, name))
            self._set(self._run(run_id), name, state="stopped", pid=None, started_s=None)

    def restart_process(self, run_id: str, name: str) -> None:
        """Lets one process begin anew."""
        with self._lock:
            self.calls.append(("restart_process", run_id, name))
            run = self._run(run_id)
            (old,) = [process for process in run.view.processes if process.name == name]
            pid = (old.pid or run.number * 100) + 1000
            self._set(run, name, state="starting", pid=pid, started_s=self._clock(), restarts=old.restarts + 1)

    def samples(self, run_id: str, since: int) -> SampleBatch:
        """Returns made-up samples."""
        with self._lock:
            run = self._run(run_id)
            self._advance(run)
            rows = [row for row in run.samples if row[0] > since][:_BATCH]
            last = rows[-1][0] if rows else since
            return SampleBatch(last, self._series(run), tuple((moment, values) for _, moment, values in rows))

    def range(
        self, run_id: str, from_s: float, to_s: float, points: int, groups: Collection[str] = ()
    ) -> SampleStretch:
        """Returns made-up samples since the run began."""
        with self._lock:
            run = self._run(run_id)
            step = max(0.5, (to_s - from_s) / points)
            begin = max(from_s, run.view.created_s)
            moments = [begin + place * step for place in range(max(0, int((to_s - begin) / step)))]
            return SampleStretch(step, self._series(run), tuple((one, self._values(run, one)) for one in moments))

    def log_path(self, run_id: str, name: str) -> Path:
        """Returns the log that the simulation writes."""
        with self._lock:
            run = self._run(run_id)
            known = {process.name for process in run.view.processes} | {*run.view.other_logs, *run.view.removed}
            if name not in known:
                raise NotFoundError("process", name, "the run has no such log", "choose one of the list")
            return self._folder / f"{run_id}-{name}.log"

    def hardware(self) -> Mapping[str, object]:
        """Returns the host of `sample_hosts` that the file `host` in the folder names, or else the real one."""
        name = self._host()
        return _sample(name) if name else describe_this_host({})

    def inspect_hardware(self, path: Path, name: str) -> Mapping[str, object]:
        """Returns what is in the file: `sample NAME` for one of `sample_hosts`, or a real dump or topology file."""
        begin, _, rest = path.read_bytes()[:100].decode("latin-1").partition(" ")
        return _sample(rest, name) if begin == "sample" else describe_file(path, name)

    def host_traffic(self) -> HostTraffic | None:
        """Returns made-up traffic of a host of `sample_hosts`; of the real host none."""
        name = self._host()
        return simulated_traffic(HOSTS[name](), self._clock()) if name else None

    def close(self) -> None:
        """Notes the call."""
        self.calls.append(("close",))

    def _host(self) -> str:
        path = self._folder / "host"
        return path.read_text() if path.exists() else ""

    def remember(self, run_id: str, seconds: float) -> None:
        """Gives the run a past of made-up samples."""
        with self._lock:
            run = self._run(run_id)
            now = self._clock()
            run.view = replace(
                run.view,
                created_s=now - seconds,
                processes=tuple(replace(one, started_s=now - seconds) for one in run.view.processes),
            )

    def _run(self, run_id: str) -> _SimulatedRun:
        if run_id not in self._runs:
            raise NotFoundError("run", run_id, "there is no such run", "choose one of the list")
        return self._runs[run_id]

    def _set(self, run: _SimulatedRun, name: str, **changes: object) -> None:
        processes = tuple(
            replace(process, **changes) if process.name == name else process for process in run.view.processes
        )
        run.view = replace(run.view, processes=processes)

    def _advance(self, run: _SimulatedRun) -> None:
        now = self._clock()
        if run.view.state == "stopped":
            return
        for place, process in enumerate(run.view.processes):
            if process.state in ("starting", "ready") and process.started_s is not None:
                age = now - process.started_s
                ready = age >= self._ready_after_s
                if age >= self._ready_after_s * 0.6 and crashes(run.view.model, process.name):
                    self._set(run, process.name, **crash(run.view.model))
                    continue
                stage, progress = ("", None) if ready else stage_at(age / self._ready_after_s)
                self._set(
                    run,
                    process.name,
                    state="ready" if ready else "starting",
                    stage=stage,
                    progress=progress,
                    cpu_percent=round(30 + 20 * math.sin(now / 3 + place), 1),
                    rss_bytes=int(6e8 + place * 1e8 + 2e7 * math.sin(now / 5)),
                )
        states = [process.state for process in run.view.processes]
        state = "ready" if all(one == "ready" for one in states) else "starting"
        if "stopped" in states or "crashed" in states:
            state = "degraded"
        if state == "ready" and run.view.id in self._orphans:
            state = "unsupervised"
        run.view = replace(run.view, state=state)
        self._sample(run, now)
        self._log(run, now)

    def _sample(self, run: _SimulatedRun, now: float) -> None:
        latest = int((now - run.view.created_s) * _RATE_HZ)
        for seq in range(max(run.seq + 1, latest - _KEPT), latest + 1):
            moment = run.view.created_s + seq / _RATE_HZ
            if not any(start <= moment <= end for start, end in self.gaps):
                run.samples.append((seq, moment, self._values(run, moment)))
        run.seq = max(run.seq, latest)
        del run.samples[:-_KEPT]

    def _load(self, run: _SimulatedRun) -> MadeUpLoad:
        return MadeUpLoad([(one.name, one.role) for one in run.view.processes], run.view.links)

    def _values(self, run: _SimulatedRun, moment: float) -> dict[str, float]:
        values = self._load(run).values(moment)
        return {key: value for key, value in values.items() if key.partition("/")[0] not in self.missing}

    def _series(self, run: _SimulatedRun) -> tuple[SeriesView, ...]:
        found = to_series_list(self._load(run).series())
        return tuple(one for one in found if one.key.partition("/")[0] not in self.missing)

    def _log(self, run: _SimulatedRun, now: float) -> None:
        wanted = int((now - run.view.created_s) * 4)
        fresh = range(max(run.log_lines, wanted - 400), wanted)
        run.log_lines = max(run.log_lines, wanted)
        if not fresh:
            return
        for process in run.view.processes:
            with self.log_path(run.view.id, process.name).open("a", encoding="utf-8") as file:
                for number in fresh:
                    stamp = time.strftime("%H:%M:%S", time.localtime(run.view.created_s + number / 4))
                    line = f"{process.name} request r-{number:06d} step {number % 7}"
                    file.write(f"\x1b[32m{stamp} INFO\x1b[0m {line}\n")
