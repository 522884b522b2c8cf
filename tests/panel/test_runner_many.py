"""A run of many small processes, and a clock that is set while a run goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pdpanel.panel.deployment import Deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan, ProcessSpec, Readiness
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.planning.kept import Kept
from pdpanel.panel.planning.node_facts import Nodes
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.runner import book
from pdpanel.panel.runner.book import Book
from pdpanel.panel.runner.journal import Journal
from pdpanel.panel.runner.lifecycle import ProcessState
from pdpanel.panel.runner.procfs import boot_id, read_stat
from pdpanel.panel.runner.state import initial_record, read_record
from pdpanel.panel.runs import Runs

from .conftest import FakeRuns
from .test_runner import is_running, journal, rundir_of


def tiny(spec: ProcessSpec) -> ProcessSpec:
    program = shutil.which("sleep")
    assert program is not None
    argv = (program, "600")
    return replace(spec, argv=argv, ready=Readiness("", 1.0), ports={}, metrics_url="", info_url="", grace_s=20.0)


def live_through(fake: FakeRuns, count: int) -> None:
    def planner(deployment: Deployment, host: HostFacts, ids: RunIds, nodes: Nodes, kept: Kept | None) -> LaunchPlan:
        made = plan(deployment, host, ids, nodes)
        first = tiny(made.processes[0])
        # After one another in pairs, so that the order counts too.
        names = [f"decode-{number}" for number in range(count)]
        specs = (
            replace(first, name=name, log=f"{name}.log", env={**first.env, "PDPANEL_PROCESS": name}, after=after)
            for name, after in zip(names, ((), *((name,) for name in names)), strict=False)
        )
        return replace(made, processes=tuple(specs), prepare=None)

    fake.runs = Runs(fake.config, planner)
    view = fake.wait(fake.start().id, "ready")
    pids = [process.pid for process in view.processes]
    assert len(set(pids)) == len(view.processes) == count
    record = read_record(rundir_of(fake, view).state)
    assert record is not None and [process.pid for process in record.processes] == pids
    assert fake.runs.stop(view.id).state == "stopped"
    assert not any(is_running(pid) for pid in pids if pid is not None)
    events = [entry["event"] for entry in journal(fake, view)]
    assert events.count("spawn") == events.count("exit") == count


def test_forty_processes(fake: FakeRuns) -> None:
    live_through(fake, 40)


@pytest.mark.slow
def test_two_hundred_processes(fake: FakeRuns) -> None:
    live_through(fake, 200)


class Clock:
    """Stands for the module `time` with a wall clock that can be set."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)

    def time(self) -> float:
        return time.time() + self.ahead_s


@pytest.mark.parametrize("ahead_s", [86400.0, -86400.0])
def test_a_clock_that_is_set_changes_no_duration(
    fake: FakeRuns, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ahead_s: float
) -> None:
    clock = Clock()
    monkeypatch.setattr(book, "time", clock)
    asyncio.run(set_the_clock(clock, fake, tmp_path, ahead_s))


async def set_the_clock(clock: Clock, fake: FakeRuns, tmp_path: Path, ahead_s: float) -> None:
    kept = kept_book(fake, tmp_path)
    before = kept.age_s
    clock.ahead_s = ahead_s
    assert before <= kept.age_s < before + 1000
    process = kept.told({}).processes[0]
    assert process.started_at is not None
    assert abs(clock.time() - process.started_at) < 40000, "as old as it is, by today's clock"
    kept.set(stop_asked=True)
    for spec in kept.processes:
        kept.change(spec.name, state=ProcessState.STOPPED)
    assert kept.run.ended_at is not None and kept.run.ended_at >= kept.run.created_at


def kept_book(fake: FakeRuns, tmp_path: Path) -> Book:
    """Returns the record of a run whose first process is this one, started by the clock of then."""
    rundir = RunDir(tmp_path / "runs" / "x")
    rundir.create()
    plan = fake.runs.preview(fake.deployment())
    record = initial_record("x", plan, time.time() - 50, boot_id())
    stat = read_stat(os.getpid())
    assert stat is not None
    first = replace(
        record.processes[0],
        state=ProcessState.READY,
        pid=stat.pid,
        start_ticks=stat.start_ticks,
        started_at=time.time() - stat.age_s,
    )
    return Book(rundir, replace(record, processes=(first, *record.processes[1:])), Journal())
