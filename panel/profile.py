"""Profiles of a run's workers: begin one, end it, where its traces are, and what they say on one page.

Only processes of the bundled engine that the plan names are asked, by its own routes; a trace is read only where the
worker could have written it, below the folder that it was started in. Each call blocks. The panel and `pdpanel profile`
use it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..engine.errors import ConflictError, NotFoundError
from .launch import LaunchPlan, ProcessSpec, Role
from .profile_summary import summary_of
from .worker_client import ask_worker

__all__ = ["PROFILED", "Profiles", "can_profile"]

PROFILED = frozenset({Role.PREFILL, Role.DECODE, Role.UNIFIED})
_ENDING = ".trace.json.gz"
_SUMMARY = "summary.json"
_WRITE_S = 150.0
_SUMMARY_S = 120.0
_LARGE_BYTES = 2 << 20


def can_profile(spec: ProcessSpec, plan: LaunchPlan) -> bool:
    """Returns whether a process of a plan has a profile: the first rank of a worker of the bundled engine."""
    return plan.dialect == "bundled" and spec.role in PROFILED and bool(spec.info_url) and not plan.attached


class Profiles:
    """The profiles of all runs.

    Args:
        plan_of: returns the plan of a run; raises NotFoundError for one that is not there.
    """

    def __init__(self, plan_of: Callable[[str], LaunchPlan]) -> None:
        self._plan_of = plan_of

    def status(self, run_id: str, name: str) -> dict[str, Any]:
        """Returns where the last profile of a process stands.

        It has `state` (idle, profiling, writing, done or failed), `folder`, `began_s`, `ended_s`, `limit_s`, `steps`,
        `ranks`, `error` and `files` ({rank, path, bytes}).

        Raises:
            NotFoundError: there is no such process, or it is none that can be profiled.
            PeerError: it does not answer.
        """
        return ask_worker(self._spec(run_id, name), "/profile")

    def start(self, run_id: str, name: str, steps: int | None = None) -> dict[str, Any]:
        """Begins a profile; raises ConflictError while one is under way, else as `status`."""
        body = {} if steps is None else {"num_steps": steps}
        return ask_worker(self._spec(run_id, name), "/start_profile", body, timeout_s=_WRITE_S, admin=True)

    def stop(self, run_id: str, name: str) -> dict[str, Any]:
        """Ends a profile and returns once its traces are written; raises ConflictError when none is under way."""
        return ask_worker(self._spec(run_id, name), "/stop_profile", {}, timeout_s=_WRITE_S, admin=True)

    def record(
        self, run_id: str, name: str, seconds: float, sleep: Callable[[float], None] = time.sleep
    ) -> dict[str, Any]:
        """Profiles a process for so long and returns where its traces are; raises as `start` and `stop`."""
        began = self.start(run_id, name)
        deadline = time.monotonic() + min(seconds, float(began["limit_s"]))
        while (left := deadline - time.monotonic()) > 0:
            sleep(left)
        status = self.status(run_id, name)
        return self.stop(run_id, name) if status["state"] in {"profiling", "writing"} else status

    def trace(self, run_id: str, name: str, rank: int) -> Path:
        """Returns the file of a rank's last trace.

        Raises:
            NotFoundError: there is none, or not on this host.
        """
        spec = self._spec(run_id, name)
        named = {file["rank"]: str(file["path"]) for file in self.status(run_id, name)["files"]}
        path = Path(named.get(rank, "")).resolve()
        known = rank in named and path.name.endswith(_ENDING) and path.is_relative_to(Path(spec.cwd).resolve())
        if not known or not path.is_file():
            problem = f"{name} has no trace of this rank on this host"
            raise NotFoundError("rank", rank, problem, "profile it first, or look where the worker runs")
        return path

    def summary(self, run_id: str, name: str, rank: int = 0) -> Mapping[str, Any]:
        """Returns one page about a rank's last trace; see `profile_summary.summarise`.

        Raises:
            NotFoundError: there is no trace.
            ConflictError: it cannot be read.
        """
        path = self.trace(run_id, name, rank)
        kept = path.with_name(f"rank{rank}.{_SUMMARY}")
        try:
            return json.loads(kept.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = _summarised(path)
        try:
            kept.write_text(json.dumps(found), encoding="utf-8")
        except OSError:
            pass  # It is made again for the next who asks.
        return found

    def _spec(self, run_id: str, name: str) -> ProcessSpec:
        plan = self._plan_of(run_id)
        spec = plan.process(name)
        if spec is None or not can_profile(spec, plan):
            known = ", ".join(each.name for each in plan.processes if can_profile(each, plan)) or "none of this run"
            problem = "is not a process that can be profiled" if spec is not None else "is not a process of this run"
            raise NotFoundError("process", name, problem, f"name one of {known}")
        return spec


def _summarised(path: Path) -> dict[str, Any]:
    """Reads a trace: a large one in a process of its own, which would else hold up everything here."""
    try:
        if path.stat().st_size < _LARGE_BYTES:
            return summary_of(path)
        command = [sys.executable, "-m", "pdpanel.panel.profile_summary", str(path)]
        done = subprocess.run(command, capture_output=True, timeout=_SUMMARY_S, check=False)
        if done.returncode == 0:
            return json.loads(done.stdout)
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        problem = reason[0] if reason else f"reading it ended with {done.returncode}"
    except subprocess.TimeoutExpired:
        problem = f"reading it took more than {_SUMMARY_S:.0f} s"
    except (OSError, ValueError, KeyError, EOFError) as error:
        problem = f"it cannot be read ({error})"
    raise ConflictError("trace", path.name, problem, "open it in Perfetto, or profile anew")
