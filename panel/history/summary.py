"""What a run came to, in a few numbers: how long it ran, what it reached, how often something crashed.

Pure: a record and rows of samples in, a `RunSummary` out. `history.run_history` reads the files, the runner writes the
summary at the end of its run, the web page and `pdpanel history` show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..launch import Role
from ..runner.lifecycle import ProcessState
from ..runner.state import RunRecord

__all__ = ["Peaks", "RunSummary", "peaks_of", "summarize"]


@dataclass(frozen=True, slots=True)
class Peaks:
    """The largest values of a run; None for what was never measured.

    Attributes:
        kv_bytes_per_s: over all links.
        generated_tokens_per_s: of all workers.
        running: requests at the same time.
        rss_bytes: of all processes together; the sum of their peaks in a minute.
    """

    kv_bytes_per_s: float | None = None
    generated_tokens_per_s: float | None = None
    running: float | None = None
    rss_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run that has ended. The JSON of `GET /api/history` has exactly these fields.

    Attributes:
        state: stopped or failed.
        created_s: when it was started the first time, unix seconds.
        ended_s: None when nobody knows.
        duration_s: from its last start to its end; None likewise.
        mode: pd, or unified.
        processes: how many of each role.
        crashes: how often a process ended by itself, as far as its runner saw.
        notice: why it ended, one line; empty when it was told to.
        bytes_on_disk: of its directory.
        attached: somebody else had started its processes.
        simulated: its GPUs, NICs and their counters were made up.
    """

    id: str
    name: str
    state: str
    created_s: float
    ended_s: float | None
    duration_s: float | None
    model: str
    transport: str
    mode: str
    processes: Mapping[str, int]
    peaks: Peaks = field(default_factory=Peaks)
    crashes: int = 0
    notice: str = ""
    bytes_on_disk: int = 0
    attached: bool = False
    simulated: bool = False


def peaks_of(rows: Iterable[Mapping[str, float]]) -> Peaks:
    """Returns the largest values of `rows`, each of which has values by series."""
    most: dict[str, float] = {}
    for row in rows:
        memory = [value for key, value in row.items() if key.startswith("proc/") and key.endswith("/rss_bytes")]
        found = {name: row[f"run/{name}"] for name in _RUN_SERIES if f"run/{name}" in row}
        if memory:
            found["rss_bytes"] = sum(memory)
        for name, value in found.items():
            most[name] = max(value, most.get(name, value))
    return Peaks(**most)


_RUN_SERIES = ("kv_bytes_per_s", "generated_tokens_per_s", "running")


def summarize(record: RunRecord, peaks: Peaks, crashes: int = 0, ended_s: float | None = None) -> RunSummary:
    """Returns the summary of a run.

    Args:
        record: the last of it.
        peaks: what its samples say.
        crashes: how many its journal tells of; at least those that the record shows are counted.
        ended_s: when it ended at the latest, for a record that does not say.
    """
    ended = record.ended_at if record.ended_at is not None else ended_s
    begun = record.resumed_at or record.created_at
    roles = Counter(str(process.role) for process in record.processes)
    return RunSummary(
        id=record.id,
        name=record.name,
        state=str(record.state),
        created_s=record.created_at,
        ended_s=ended,
        # A clock that was set back meanwhile makes no negative time.
        duration_s=None if ended is None else max(0.0, ended - begun),
        model=record.model,
        transport=record.transport,
        mode="pd" if str(Role.PREFILL) in roles else "unified",
        processes=dict(roles),
        peaks=peaks,
        crashes=max(crashes, sum(process.state is ProcessState.CRASHED for process in record.processes)),
        notice=record.notice,
        attached=record.attached,
        simulated=record.simulated,
    )
