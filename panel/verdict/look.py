"""Reads what a verdict is made from: the newest samples of a run, its plan, and what its host has left.

The shell around `judge`; the panel and the command line call it. Reads, and changes nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

from ..runner.lifecycle import FINAL
from ..runs import Runs
from .evidence import Evidence
from .held import held
from .judge import WINDOW_S, judge
from .shape import Room, Shape, shape_of
from .values import Limit, Verdict

__all__ = ["Look"]

_MOST_ROWS = 100
_QUEUES = (
    "running",
    "queued",
    "bootstrap_queue",
    "inflight_queue",
    "prealloc_queue",
    "transfer_queue",
    "slot_pages_used",
    "staging_pages_used",
    "kv_usage_percent",
)
_OF_RUN = (
    "run/ttft_p50_s",
    "run/itl_p50_s",
    "run/transfer_latency_p50_s",
    "run/transfer_bytes_per_request",
    "run/requests_per_s",
    "run/kv_bytes_per_s",
    "host/cpu_percent",
)


class Look:
    """Looks at runs.

    Args:
        runs: of this user.
        clock: unix seconds.
        host_gpus: returns how many GPUs this host has, None where nobody knows.
    """

    def __init__(
        self, runs: Runs, clock: Callable[[], float] = time.time, host_gpus: Callable[[], int | None] | None = None
    ) -> None:
        self._runs = runs
        self._clock = clock
        self._host_gpus = host_gpus or gpus_of_host

    def verdict(self, run_id: str) -> Verdict:
        """Returns what limits a run now.

        Raises:
            NotFoundError: there is no such run.
        """
        if self._runs.get(run_id).state in FINAL:
            return Verdict(Limit.UNKNOWN, 0.0, "What limits it cannot be told: the run has ended.")
        return judge(self.evidence(run_id))

    def evidence(self, run_id: str) -> Evidence:
        """Returns the samples of the last seconds, and the rest that a verdict is made from."""
        plan = self._runs.plan(run_id)
        shape = shape_of(plan)
        now = self._clock()
        devices = {gpu for spec in plan.processes for gpu in spec.gpus}
        nics = {nic for spec in plan.processes for nic in spec.nics}
        found = self._runs.range(run_id, now - WINDOW_S, now, _MOST_ROWS, _keys(shape, devices, nics))
        sampled = [(row.t, row.values) for row in found.rows if row.values]
        rows = list(held(sampled, _of_processes(shape, _QUEUES)))
        limits = {key: info.limit for key, info in found.series.items() if info.limit is not None}
        local = not plan.addresses and not plan.attached
        return Evidence(rows, shape, self._room(rows, bool(devices)) if local else Room(), limits)

    def _room(self, rows: Collection[tuple[float, object]], has_gpus: bool) -> Room:
        cpu = [
            values["host/cpu_percent"]
            for _, values in rows
            if isinstance(values, dict) and "host/cpu_percent" in values
        ]
        cores = (os.cpu_count() or 1) * (1 - sum(cpu) / len(cpu) / 100) if cpu else None
        return Room(cores, self._free_gpus() if has_gpus else None)

    def _free_gpus(self) -> int | None:
        total = self._host_gpus()
        if total is None:
            return None
        living = [view.id for view in self._runs.list() if view.state not in FINAL]
        taken = {gpu for run_id in living for spec in self._runs.plan(run_id).processes for gpu in spec.gpus}
        return max(0, total - len(taken))


def _of_processes(shape: Shape, quantities: Collection[str]) -> list[str]:
    names = [*(worker.name for worker in shape.workers), *shape.routers]
    return [f"proc/{name}/{quantity}" for name in names for quantity in quantities]


def _keys(shape: Shape, gpus: Collection[str], nics: Collection[str]) -> tuple[str, ...]:
    of_processes = _of_processes(shape, (*_QUEUES, "cpu_percent", "loop_lag_s", "loop_late_percent"))
    of_gpus = [f"gpu/{gpu}/util_percent" for gpu in gpus]
    of_nics = [f"nic/{nic}:1/{way}_bytes_per_s" for nic in nics for way in ("tx", "rx")]
    return (*_OF_RUN, *of_processes, *of_gpus, *of_nics)


def gpus_of_host(proc: Path = Path("/proc/driver/nvidia/gpus")) -> int | None:
    """Returns how many NVIDIA GPUs the driver has; None without one, since others are not counted here."""
    try:
        return len(list(proc.iterdir()))
    except OSError:
        return None
