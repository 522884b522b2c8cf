"""Profiles and ranks of simulated runs: what a worker would say, from memory. Called by `simulated_source`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pdpanel.engine.errors import ConflictError, NotFoundError
from pdpanel.panel.profile_summary import summary_of
from pdpanel.panel.web.port import RunView

__all__ = ["SimulatedProfiles", "SimulatedRanks", "write_trace"]

_LIMIT_S = 30.0


def write_trace(path: Path) -> Path:
    """Writes a small trace: two steps of one second, one of them half a second of exchange, and a write of KV."""
    thread: dict[str, Any] = {"pid": 1, "tid": 7}
    events: list[dict[str, Any]] = [
        {"ph": "X", "cat": "Trace", "name": "PyTorch Profiler (0)", "pid": "Spans", "tid": "x", "ts": 0, "dur": 4e6},
        {"ph": "X", "cat": "pdpanel_wait", "name": "wait for work", **thread, "ts": 0, "dur": 2e6},
        {"ph": "X", "cat": "pdpanel_compute", "name": "decode step", **thread, "ts": 2e6, "dur": 1e6},
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", **thread, "ts": 2.1e6, "dur": 0.6e6},
        {"ph": "X", "cat": "pdpanel_compute", "name": "decode step", **thread, "ts": 3e6, "dur": 1e6},
        {"ph": "X", "cat": "user_annotation", "name": "exchange: sum", **thread, "ts": 3.5e6, "dur": 0.5e6},
        {"ph": "b", "cat": "pdpanel_transfer", "name": "KV write", **thread, "id": 1, "ts": 1e6},
        {"ph": "e", "cat": "pdpanel_transfer", "name": "KV write", **thread, "id": 1, "ts": 2.5e6},
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write('{"schemaVersion": 1, "traceEvents": [\n')
        file.write(",\n".join(map(json.dumps, events)))
        file.write('\n], "traceName": "x"}')
    return path


class SimulatedProfiles:
    """The `ProfilePort` of simulated runs: one worker's profile takes as long as the person wants.

    Args:
        folder: where the traces are written.
        find: gives a run as it is.
        note: hears of every action.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        find: Callable[[str], RunView],
        note: Callable[..., None],
        clock: Callable[[], float],
    ) -> None:
        self._folder, self._find, self._note, self._clock = folder, find, note, clock
        self._known: dict[tuple[str, str], dict[str, Any]] = {}

    def _now(self, run_id: str, name: str) -> dict[str, Any]:
        process = next((one for one in self._find(run_id).processes if one.name == name), None)
        if process is None or not process.can_profile:
            raise NotFoundError("process", name, "is not a process that can be profiled", "name another one")
        empty = {"state": "idle", "folder": "", "began_s": 0.0, "ended_s": 0.0, "limit_s": _LIMIT_S}
        return self._known.setdefault((run_id, name), {**empty, "steps": 0, "ranks": 1, "error": "", "files": []})

    def status(self, run_id: str, name: str) -> Mapping[str, Any]:
        """Returns where the last profile of a process stands."""
        return self._now(run_id, name)

    def start(self, run_id: str, name: str) -> Mapping[str, Any]:
        """Begins one."""
        now = self._now(run_id, name)
        if now["state"] == "profiling":
            raise ConflictError("process", name, "a profile is under way", "stop it")
        self._note("profile", run_id, name)
        now |= {"state": "profiling", "began_s": self._clock(), "files": [], "steps": 3}
        return now

    def stop(self, run_id: str, name: str) -> Mapping[str, Any]:
        """Ends it."""
        now = self._now(run_id, name)
        if now["state"] != "profiling":
            raise ConflictError("process", name, "no profile is under way", "start one")
        path = write_trace(self._folder / run_id / name / "TP-0.trace.json.gz")
        files = [{"rank": 0, "path": str(path), "bytes": path.stat().st_size}]
        now |= {"state": "done", "ended_s": self._clock(), "files": files, "folder": str(path.parent)}
        return now

    def trace(self, run_id: str, name: str, rank: int) -> Path:
        """Returns the file of the last trace."""
        files = self._now(run_id, name)["files"]
        if rank or not files:
            raise NotFoundError("rank", rank, "has no trace", "profile it first")
        return Path(files[0]["path"])

    def summary(self, run_id: str, name: str, rank: int = 0) -> Mapping[str, Any]:
        """Returns one page about it."""
        return summary_of(self.trace(run_id, name, rank))


def _spread(worker: str) -> dict[str, Any]:
    """Returns a worker of two ranks, each an attention group with half of the experts, of which one is gone."""
    common = {"process": worker, "node": 0}
    reason = "Rank 1 (pid 4712 on node 0) was ended by SIGKILL."
    ranks = [
        {
            "rank": 0,
            "group": 0,
            "heads": [0, 12],
            "kv_heads": [0, 4],
            "experts": [*range(4)],
            "alive": True,
            "pid": 4711,
        },
        {"rank": 1, "group": 1, "heads": [0, 0], "kv_heads": [0, 0], "experts": [], "alive": False, "pid": 4712},
    ]
    told = [common | rank | {"problem": "" if rank["alive"] else reason} for rank in ranks]
    return {"source": "worker", "sizes": {"tp": 2, "attn_dp": 2, "ep": 2, "nodes": 1}, "backend": "gloo", "ranks": told}


class SimulatedRanks:
    """The `RanksPort` of simulated runs: decode-0 has two ranks when the model's name holds `ranks`.

    Args:
        find: gives a run as it is.

    Attributes:
        workers: what is told of every other run, by worker.
    """

    def __init__(self, find: Callable[[str], RunView]) -> None:
        self._find = find
        self.workers: dict[str, Any] = {}

    def of(self, run_id: str) -> Mapping[str, Any]:
        """Returns the workers that have several ranks."""
        return {"decode-0": _spread("decode-0")} if "ranks" in self._find(run_id).model else self.workers
