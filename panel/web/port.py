"""What the web part needs of the rest of the panel, as plain values and one Protocol.

The values are what travels to the browser: every field is JSON, times are seconds since 1970, sizes are
bytes. `source.RunsSource` fills them from the real runs; the tests of the pages fill them by hand. Knows
neither Gradio nor FastAPI nor the runs themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..simulate.view import SimulatedHost
from .attach_port import Attachments
from .bench_port import Bench
from .deploy_port import RunCommands, StartChecks
from .history_port import History
from .profile_port import ProfilePort
from .proof_port import Proofs
from .ranks_port import RanksPort
from .report_port import Reports
from .scale_port import Scaling
from .verdict_port import Verdicts

__all__ = [
    "Choices",
    "DeployForm",
    "HostTraffic",
    "LinkTraffic",
    "Offer",
    "OfferedProcess",
    "ProcessView",
    "RunView",
    "SampleBatch",
    "SampleStretch",
    "SeriesView",
    "Source",
    "StageView",
]


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage of a start and when it began."""

    name: str
    began_s: float


@dataclass(frozen=True, slots=True)
class ProcessView:
    """One process of a run as its table row shows it.

    Attributes:
        state: pending, starting, ready, stopping, stopped, crashed or restarting.
        stage: what a starting process does now, in a few words.
        started_s: when it was started; None when it does not run.
        cpu_percent: of one core.
        message: why it ended by itself the last time, in one sentence.
        progress: how much of the stage is done, 0 to 1; None when nobody can know it.
        exit_code: of its last end, negative for a signal; None when it has not ended, or nobody can know it.
        findings: what the doctor says of that end, as plain JSON.
        after: the processes that must be ready before this one is started.
        stages: what was seen of its start, oldest first.
        place: its GPUs and NICs, in a few words; empty without any.
        ranks: of its worker that it has.
        can_profile: its time can be profiled.
    """

    name: str
    role: str
    state: str
    stage: str = ""
    pid: int | None = None
    port: int | None = None
    started_s: float | None = None
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    restarts: int = 0
    message: str = ""
    progress: float | None = None
    exit_code: int | None = None
    findings: tuple[Mapping[str, object], ...] = ()
    after: tuple[str, ...] = ()
    stages: tuple[StageView, ...] = ()
    place: str = ""
    ranks: int = 1
    can_profile: bool = False


@dataclass(frozen=True, slots=True)
class RunView:
    """One run.

    Attributes:
        state: starting, ready, degraded, stopping, stopped, failed or unsupervised.
        mode: pd or unified.
        links: the pairs (prefill process, decode process) between which KV may travel.
        other_logs: names of logs that belong to no process, such as the model download's.
        notice: one sentence on what goes on, such as a model download.
        progress: share of that work which is done, 0 to 1; None when nobody can know it.
        can_stop: something of it can still be stopped.
        name: of its deployment.
        ended_s: when it ended; None while it goes on, and when nobody knows it.
        attached: somebody else started its processes: they are watched, never started or ended.
        resumed_s: when it was started again after its end; None for a run that never ended.
        adopted_s: when a runner took over from one that had ended; None for the first one.
        removed: workers that were taken out of it; their logs are there.
        simulated: its GPUs, NICs and their counters are made up.
    """

    id: str
    state: str
    mode: str
    model: str
    transport: str
    router_url: str
    created_s: float
    processes: tuple[ProcessView, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    other_logs: tuple[str, ...] = ()
    notice: str = ""
    progress: float | None = None
    can_stop: bool = True
    name: str = ""
    ended_s: float | None = None
    attached: bool = False
    resumed_s: float | None = None
    adopted_s: float | None = None
    removed: tuple[str, ...] = ()
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class SeriesView:
    """What one series of samples means.

    Attributes:
        label: whom it is about, in a word or two.
        group: what it belongs to: kv, transfer, transfer_size, queues, pages, tokens, latency, requests, nic, netdev,
            gpu, cpu or memory.
        unit: of the values: B/s, B, s, tokens/s, requests, pages or %.
        source: where the numbers come from, in a few words.
        total: True for the sum of the other series of the same quantity.
        limit: the most that it can be, such as a line rate; None where there is none.
        process: the process that it is about; empty for none.
    """

    key: str
    label: str
    group: str
    unit: str
    source: str = ""
    total: bool = False
    limit: float | None = None
    process: str = ""


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Samples of one run, oldest first, as (time, value of each key); a missing key is missing data.

    Attributes:
        last_seq: where the next call goes on.
    """

    last_seq: int
    series: tuple[SeriesView, ...] = ()
    rows: tuple[tuple[float, Mapping[str, float]], ...] = ()


@dataclass(frozen=True, slots=True)
class SampleStretch:
    """Samples of a stretch of time, oldest first; each row stands for `step_s` seconds.

    Attributes:
        rows: as in SampleBatch; one without values marks a time in which nothing was sampled.
        peaks: the largest sample of each row's time, row by row; none where rows are samples themselves.
    """

    step_s: float
    series: tuple[SeriesView, ...] = ()
    rows: tuple[tuple[float, Mapping[str, float]], ...] = ()
    peaks: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class DeployForm:
    """What the Deploy button sends, already checked; of the counts those of the mode are meant."""

    mode: str
    model: str
    prefill: int
    decode: int
    transport: str
    unified: int = 1


@dataclass(frozen=True, slots=True)
class Choices:
    """What the Deploy form offers; the first of each is the default."""

    models: Sequence[str] = ("SmolLM2-135M-Instruct",)
    transports: Sequence[str] = ("mooncake", "mooncake_tcp", "tcp")
    most_workers: int = 8


@dataclass(frozen=True, slots=True)
class LinkTraffic:
    """What travels over one link of the host now.

    Attributes:
        tx_bytes_per_s: sent; None when it is not known, which is never the same as 0.
        rx_bytes_per_s: received; the same.
        source: the counters that the numbers come from, in a few words.
        reason: why a number is missing; empty when both are there.
    """

    tx_bytes_per_s: float | None
    rx_bytes_per_s: float | None
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class HostTraffic:
    """The newest sample of the host's links.

    Attributes:
        at: when it was taken.
        rate_hz: samples per second that are reached.
        links: by name: `mlx5_0:1` for an RDMA port, the name of an interface, `nvlink 0000:18:00.0` and
            `pcie 0000:18:00.0` for a GPU.
    """

    at: float
    rate_hz: float
    links: Mapping[str, LinkTraffic]


@dataclass(frozen=True, slots=True)
class OfferedProcess:
    """A process that a deployment would start: its command, the variables that are set for it, and its folder.

    The folder, `cwd`, is empty where it is the run's own.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a deployment would start on this host.

    Attributes:
        consent: what stands for the person's agreement to exactly this.
        needs_consent: True when a start wants it; False when it was given before, or nothing foreign would run.
        problem: why it cannot be started here, in one sentence; empty when it can.
    """

    consent: str
    needs_consent: bool
    processes: Sequence[OfferedProcess]
    problem: str = ""


class Source(Protocol):
    """The runs of this host, for the web part; each method may block and raises only PdpanelError.

    All of them are called from worker threads, several at a time.

    Attributes:
        simulated: nothing of what it tells is measured on this host; every view says so.
        simulation: the host that is made up then; None without one.
        start_checks: what a start would meet.
        run_commands: actions on whole runs.
        attach: deployments that somebody else started.
        bench: loads and their results.
        history: runs that have ended.
        reports: what a bug report needs.
        proof: which way the KV of a run travels.
        scaling: more or fewer workers of runs that serve.
        verdict: what limits a run now.
        profiles: what the time of a worker goes into.
        ranks: what each rank of a worker computes.
    """

    choices: Choices
    simulated: bool
    simulation: SimulatedHost | None
    start_checks: StartChecks
    run_commands: RunCommands
    attach: Attachments
    bench: Bench
    history: History
    reports: Reports
    proof: Proofs
    scaling: Scaling
    verdict: Verdicts
    profiles: ProfilePort
    ranks: RanksPort

    def runs(self) -> Sequence[RunView]:
        """Returns the runs, newest first."""
        ...

    def start(self, form: DeployForm) -> str:
        """Starts a run and returns its id at once, before its processes are ready."""
        ...

    def offer(self, text: str) -> Offer:
        """Returns what the deployment in a YAML text would start here; raises ConfigError for a wrong field."""
        ...

    def start_text(self, text: str, consent: str) -> str:
        """Starts the deployment in a YAML text and returns the run's id.

        Args:
            text: the deployment.
            consent: the id of the offer that the person has agreed to; may be empty for one that needs none.

        Raises:
            ConsentError: it needs an agreement, and `consent` is none to this.
        """
        ...

    def stop(self, run_id: str) -> None:
        """Stops all processes of the run; returns when they ended."""
        ...

    def stop_process(self, run_id: str, name: str) -> None:
        """Asks one process to stop and to stay stopped."""
        ...

    def restart_process(self, run_id: str, name: str) -> None:
        """Stops one process, if it lives, and starts it again."""
        ...

    def samples(self, run_id: str, since: int) -> SampleBatch:
        """Returns the run's samples after number `since`, a bounded count of them; 0 begins at the oldest."""
        ...

    def range(
        self, run_id: str, from_s: float, to_s: float, points: int, groups: Collection[str] = ()
    ) -> SampleStretch:
        """Returns about `points` rows between two times, of these groups at least; none means all."""
        ...

    def log_path(self, run_id: str, name: str) -> Path:
        """Returns where the process writes its log; the file may not exist yet."""
        ...

    def hardware(self) -> Mapping[str, object]:
        """Returns what the Hardware tab shows of this host, as `hardware.describe` shapes it."""
        ...

    def inspect_hardware(self, path: Path, name: str) -> Mapping[str, object]:
        """Returns the same of the host in a dump or topology file.

        Args:
            path: where the file's bytes are for the length of the call.
            name: the file's own name, which the answer and every error shows.

        Raises:
            SourceError: the file cannot be read as a host.
        """
        ...

    def host_traffic(self) -> HostTraffic | None:
        """Returns the newest sample of the host's links, or None before there is one; never waits for one."""
        ...

    def close(self) -> None:
        """Ends what the source runs beside its calls, such as the sampler; nothing is called afterwards."""
        ...
