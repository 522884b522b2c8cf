"""kill -9 of whoever starts or stops a run, at each moment of that: the next look shows the truth."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.runner.procfs import all_stats, variables
from pdpanel.panel.views import RunView

from .conftest import FakeRuns, wait_for

STARTER = """
import sys
from pathlib import Path
from tests.panel.conftest import FakeRuns
fake = FakeRuns(Path(sys.argv[1]))
fake.behaviour = {"decode-0": "ignore-term"}
view = fake.start() if len(sys.argv) < 3 else fake.runs.stop(sys.argv[2])
print(view.state, flush=True)
sys.stdin.read()
"""
ROOT = Path(__file__).parents[2]


def starter(root: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", STARTER, str(root), *more]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


def each_lives_once(view: RunView) -> bool:
    marked = [
        marks["PDPANEL_PROCESS"]
        for stat in all_stats()
        if stat.pid == stat.session
        and (marks := variables(stat.pid, ("PDPANEL_RUN_ID", "PDPANEL_PROCESS"))).get("PDPANEL_RUN_ID") == view.id
    ]
    return sorted(marked) == sorted(process.name for process in view.processes)


# A new run is a directory, a plan, a record, a runner and then processes.
MOMENTS = ("logs", "plan.json", "state.json", "runner.log", "runner.sock", "logs/router.log")
ALWAYS = frozenset({"state.json", "runner.sock"})


@pytest.mark.parametrize(
    "moment", [pytest.param(moment, marks=() if moment in ALWAYS else pytest.mark.slow) for moment in MOMENTS]
)
def test_killed_during_a_start(fake: FakeRuns, tmp_path: Path, moment: str) -> None:
    runs = fake.config.runs_dir
    with starter(tmp_path) as killed:
        wait_for(lambda: next(iter(runs.glob(f"*/{moment}")), None), moment)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    rundir = RunDir(next(runs.iterdir()))
    if not rundir.state.exists():
        assert fake.runs.list() == [], "a start that came to nothing is no run"
        return
    wait_for(lambda: fake.runs.list()[0].processes[0].pid or not rundir.is_supervised(), "a runner, or none")
    view = fake.runs.get(rundir.run_id)
    if view.state == "stopped":
        assert view.notice == "its start was broken off before it had a runner"
        fake.runs.resume(view.id)
    else:
        assert fake.runs.adopt_all() == [], "it has its runner"
    view = fake.wait(view.id, "ready")
    assert each_lives_once(view)


def test_killed_during_a_stop(fake: FakeRuns, tmp_path: Path) -> None:
    fake.behaviour = {"decode-0": "ignore-term"}
    view = fake.wait(fake.start().id, "ready")
    with starter(tmp_path, view.id) as killed:
        fake.wait(view.id, "stopping", "stopped")
        killed.kill()
    ended = fake.wait(view.id, "stopped")
    assert {process.state for process in ended.processes} == {"stopped"}
    assert ended.ended_at is not None
    assert not each_lives_once(ended)
    wait_for(lambda: not RunDir(fake.config.runs_dir / view.id).is_supervised(), "the runner's end")
