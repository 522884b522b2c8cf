"""Load on a run that serves, for the `scale` suite: the load generator's figures, and what the processes take.

Blocking; prompts are random tokens, so that no cache answers them.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import psutil

from ....engine.errors import PeerError
from ...load.client import allow_connections, open_session
from ...load.driver import measure
from ...load.result import LoadResult, Progress
from ...load.server import learn
from ...load.spec import Arrival, LoadSpec, Route, checked
from ...rundir import RunDir
from ...runner.state import read_record
from ..session import BenchRun

__all__ = ["Clients", "idle_percents", "load", "memory_mb"]


@dataclass(frozen=True, slots=True)
class Clients:
    """What is asked.

    Attributes:
        at_once: clients, each of which sends the next request when its last one has ended.
        requests: how many are sent.
        prompt: tokens of each prompt, output those of each answer.
    """

    at_once: int
    requests: int
    prompt: int
    output: int
    seed: int = 0


def load(run: BenchRun, asked: Clients) -> LoadResult:
    """Returns what a load measured.

    Raises:
        PeerError: a request failed: its figures would not be those of the load that was asked for.
    """
    spec = checked(
        LoadSpec(
            url=run.url,
            route=Route.GENERATE,
            arrival=Arrival.CONCURRENCY,
            concurrency=asked.at_once,
            requests=asked.requests,
            warmup=0,
            input=str(asked.prompt),
            output=str(asked.output),
            seed=asked.seed,
        )
    )
    allow_connections(asked.at_once)
    result = asyncio.run(_load(spec))
    if result.failed:
        worst = result.errors[0]
        raise PeerError(f"{result.failed} of {result.sent} requests failed, the first {worst.kind}: {worst.text}.")
    return result


async def _load(spec: LoadSpec) -> LoadResult:
    def ignore(progress: Progress) -> None:
        return None

    async with open_session() as session:
        return await measure(session, spec, await learn(session, spec), asyncio.Event(), ignore)


def _pids(run: BenchRun) -> dict[str, int]:
    """Returns the processes of a run that live, its runner among them."""
    view = run.view()
    pids = {process.name: process.pid for process in view.processes if process.pid is not None}
    record = read_record(RunDir(run.runs.log_path(run.id, "runner").parent).state)
    return pids if record is None or record.runner_pid is None else {**pids, "runner": record.runner_pid}


def memory_mb(run: BenchRun) -> dict[str, float]:
    """Returns the resident memory of each process; weights that are mapped count in each worker."""
    return {name: psutil.Process(pid).memory_info().rss / 1e6 for name, pid in _pids(run).items()}


def idle_percents(run: BenchRun, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Returns what share of a core, in percent, each process takes while nobody asks, in stretches of `seconds`."""
    pids = _pids(run)
    found: dict[str, list[float]] = {name: [] for name in pids}
    for _ in range(rounds):
        before = _cpu_s(pids)
        began = time.monotonic()
        time.sleep(seconds)
        after, took = _cpu_s(pids), time.monotonic() - began
        for name in pids:
            found[name].append(100 * (after[name] - before[name]) / took)
    return found


def _cpu_s(pids: dict[str, int]) -> dict[str, float]:
    used: dict[str, float] = {}
    for name, pid in pids.items():
        times = psutil.Process(pid).cpu_times()
        used[name] = times.user + times.system
    return used
