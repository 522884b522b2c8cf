"""Runners whose directory suffers while their processes go on."""

from __future__ import annotations

import os
import signal

import psutil
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.views import RunView

from .conftest import FakeRuns, wait_for


def kill_runner(rundir: RunDir) -> None:
    runner = next(one for one in psutil.process_iter(["cmdline"]) if str(rundir.path) in (one.info["cmdline"] or []))
    os.kill(runner.pid, signal.SIGKILL)
    wait_for(lambda: not rundir.is_supervised(), "the runner is gone")


def test_samples_that_are_damaged_are_set_aside_and_said(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    rundir = RunDir(fake.config.runs_dir / view.id)
    kill_runner(rundir)
    for path in rundir.path.glob("samples.sqlite*"):
        path.write_bytes(b"\0garbage" * 4000)
    view = fake.runs.adopt(view.id)
    assert [finding.id for finding in view.findings] == ["samples-set-aside"]
    assert "set aside as samples.sqlite.corrupt-1" in view.notice
    assert (rundir.path / "samples.sqlite.corrupt-1").exists()
    assert {process.state for process in fake.wait(view.id, "ready").processes} == {"ready"}
    rows = wait_for(lambda: fake.runs.samples(view.id).rows, "rows again")
    found = fake.runs.range(view.id, rows[0].t - 1, rows[0].t + 60)
    assert found.step_s == 0.5 and found.rows[0].values
    fake.runs.stop(view.id)
    assert rundir.summary.exists(), "the runner sums its run up"
    (run,) = fake.runs.history.list()
    assert (run.id, run.state, run.processes["prefill"]) == (view.id, "stopped", 1)
    assert run.peaks.rss_bytes is not None and run.bytes_on_disk > 0
    assert fake.runs.history.remove([view.id]) > 0
    assert fake.runs.list() == []


def test_a_record_that_cannot_be_written_is_told_by_the_runner(fake: FakeRuns) -> None:
    """A folder stands where the record belongs, so that neither root nor anybody else can put it there."""
    view = fake.wait(fake.start().id, "ready")
    rundir = RunDir(fake.config.runs_dir / view.id)
    rundir.state.unlink()
    rundir.state.mkdir()

    def told() -> RunView:
        return fake.runs.stop_process(view.id, "decode-0")

    assert told().processes[0].state == "stopped"
    view = fake.runs.get(view.id)
    assert "cannot be written" in view.notice
    assert view.processes[1].state == "ready"
    assert not list(rundir.path.glob(".state.json.*")), "no half of a file is left"
    rundir.state.rmdir()
    wait_for(lambda: rundir.state.is_file(), "the record is written again")
    assert fake.runs.get(view.id).notice == ""
    assert fake.runs.stop(view.id).state == "stopped"
    assert fake.runs.get(view.id).state == "stopped"
