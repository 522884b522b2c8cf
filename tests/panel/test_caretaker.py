"""Who gives runs a new runner while the panel is open: how often, when not, and what is said about it."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConflictError, PeerError
from pdpanel.panel.audit import Audit
from pdpanel.panel.caretaker import LOOK_S, Caretaker
from pdpanel.panel.config import PanelConfig
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.run_store import RunStore
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.runner import protocol
from pdpanel.panel.runner.client import ask
from pdpanel.panel.runner.lifecycle import RunState
from pdpanel.panel.runner.procfs import boot_id
from pdpanel.panel.runner.state import encode_record, initial_record, read_record
from pdpanel.panel.views import RunView, to_view
from pdpanel.panel.web.source import RunsSource

from .conftest import FakeRuns, wait_for
from .test_runner import is_running, pid_of, rundir_of
from .test_runner_adoption import kill_runner

PLAN = LaunchPlan(run_name="x", host="127.0.0.1", model="m", transport="tcp", router_url="", processes=())


@dataclass
class World:
    """Runs on disk, a clock, and a way to adopt that gives each run a lock, until that is taken away again."""

    config: PanelConfig
    now: float = 0.0
    adopted: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    problem: str = ""
    locks: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.audit = Audit(self.config.state_dir)
        self.caretaker = Caretaker(RunStore(self.config), self.adopt, self.audit, self.told.append, lambda: self.now)

    def rundir(self, run_id: str) -> RunDir:
        return RunDir(self.config.runs_dir / run_id)

    def make(self, run_id: str, state: RunState = RunState.READY, left: bool = False) -> RunDir:
        rundir = self.rundir(run_id)
        rundir.create()
        record = replace(initial_record(run_id, PLAN, 0.0, boot_id()), state=state, left=left, runner_pid=1)
        rundir.write(rundir.state, encode_record(record))
        return rundir

    def adopt(self, run_id: str) -> RunView:
        self.adopted.append(run_id)
        if self.problem:
            raise PeerError(self.problem)
        lock = self.rundir(run_id).try_lock()
        assert lock is not None
        self.locks[run_id] = lock
        record = read_record(self.rundir(run_id).state)
        assert record is not None
        return to_view(record, self.rundir(run_id).logs)

    def die(self, run_id: str) -> None:
        os.close(self.locks.pop(run_id))

    def look_after(self, seconds: float) -> int:
        """Looks as often as the panel does in `seconds`; returns how often something was adopted meanwhile."""
        before = len(self.adopted)
        for _ in range(round(seconds / LOOK_S)):
            self.now += LOOK_S
            self.caretaker.look()
        return len(self.adopted) - before


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(PanelConfig(tmp_path / "state", tmp_path / "cache", tmp_path / "config"))


def test_a_dead_runner_is_replaced_once_and_that_is_on_record(world: World) -> None:
    world.make("one")
    world.make("ended", RunState.STOPPED)
    world.caretaker.look()
    assert world.adopted == ["one"]
    assert world.look_after(600) == 0, "it has a runner"
    (entry,) = world.audit.entries()
    assert (entry.who, entry.action, entry.subject, entry.outcome) == ("panel", "adopt", "one", "done")
    assert world.told == ["one is ready: it has a runner again"]
    world.die("one")
    assert world.look_after(LOOK_S) == 1, "much later it is a matter of its own"


def test_a_run_that_was_left_on_purpose_stays_left(world: World) -> None:
    world.make("left", left=True)
    assert world.look_after(100) == 0


def test_runners_that_die_at_once_are_replaced_less_and_less_often(world: World) -> None:
    world.make("bad")
    world.caretaker.look()
    attempts = []
    for _ in range(400):
        if "bad" in world.locks:
            world.die("bad")
        if world.look_after(LOOK_S):
            attempts.append(world.now)
    pauses = [after - before for before, after in itertools.pairwise(attempts)]
    assert pauses[:4] == [20.0, 40.0, 80.0, 160.0]
    assert max(pauses) == 600.0
    assert "was given a new runner 12 times: that one ended too" in world.caretaker.notice("bad")


def test_a_runner_that_does_not_come_up_is_said_with_its_reason(world: World) -> None:
    world.problem = "The runner of bad did not come up: no space left"
    world.make("bad")
    assert world.caretaker.notice("bad") == "the panel gives it a new one within seconds"
    world.caretaker.look()
    notice = world.caretaker.notice("bad")
    assert (
        "new runner once: The runner of bad did not come up: no space left; the next attempt is in about 10 s" in notice
    )
    assert [entry.outcome for entry in world.audit.entries()] == [world.problem]
    assert world.look_after(LOOK_S) == 1
    world.problem = ""
    assert world.look_after(2 * LOOK_S) == 1
    assert world.look_after(600) == 0


def test_one_run_that_cannot_be_looked_at_stops_no_other(world: World) -> None:
    (world.make("a-bad").path / "runner.lock").symlink_to("runner.lock")
    (world.make("b-broken")).state.write_text("{")
    world.make("c-good")
    world.caretaker.look()
    assert world.adopted == ["c-good"]
    assert [line for line in world.told if "a-bad could not be looked at" in line]


def test_a_runner_that_dies_while_the_panel_is_open_is_replaced_by_itself(fake: FakeRuns) -> None:
    """Only a panel that started looked; one that was open showed `unsupervised` until somebody pressed Adopt."""
    view = fake.wait(fake.start().id, "ready")
    audit, stop = Audit(fake.config.state_dir), threading.Event()
    caretaker = Caretaker(RunStore(fake.config), fake.runs.take_over, audit)
    source = RunsSource(fake.runs, caretaker=caretaker)
    kill_runner(fake, view)
    (lost,) = source.runs()
    assert (lost.state, lost.adopted_s) == ("unsupervised", None)
    assert lost.notice.endswith("; the panel gives it a new one within seconds")
    keeper = threading.Thread(target=caretaker.keep, args=(stop, 0.1))
    keeper.start()
    try:
        wait_for(lambda: source.runs()[0].adopted_s is not None, "the adoption")
        again = fake.wait(view.id, "ready")
        assert [process.pid for process in again.processes] == [process.pid for process in view.processes]
        ask(rundir_of(fake, view), protocol.Shutdown())
        fake.wait(view.id, "unsupervised")
        caretaker.look()
        (left,) = source.runs()
        assert (left.state, left.notice) == (
            "unsupervised",
            "its runner was told to leave it; Adopt gives it a new one",
        )
        assert len(list(audit.entries())) == 1
        assert fake.runs.adopt(view.id).state == "ready", "whoever asks for it gets it"
        os.kill(pid_of(view, "decode-0"), signal.SIGKILL)
        fake.wait_process(view.id, "decode-0", "restarting")
        assert not is_running(pid_of(view, "decode-0"))
    finally:
        stop.set()
        keeper.join(20)


def test_two_panels_on_one_state_directory_note_one_adoption_once(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    audit = Audit(fake.config.state_dir)
    both = [Caretaker(RunStore(fake.config), fake.runs.take_over, audit) for _ in range(2)]
    kill_runner(fake, view)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(Caretaker.look, both))
    fake.wait(view.id, "ready")
    assert [entry.action for entry in audit.entries()] == ["adopt"]
    assert fake.runs.take_over(view.id) is None, "it has its runner"
    fake.runs.stop(view.id)
    assert fake.runs.take_over(view.id) is None, "it has ended"


def test_who_comes_second_counts_no_attempt(world: World) -> None:
    world.make("one")
    second = Caretaker(RunStore(world.config), lambda run_id: None, world.audit, world.told.append, lambda: world.now)
    second.look()
    assert (list(world.audit.entries()), world.told) == ([], [])
    assert second.notice("one") == "the panel gives it a new one within seconds"


def test_a_command_to_a_process_of_a_run_without_a_runner_gets_one_first(fake: FakeRuns) -> None:
    """Restart of a row answered that the runner does not answer, where `pdpanel restart` is said to adopt first."""
    view = fake.wait(fake.start().id, "ready")
    kill_runner(fake, view)
    fake.runs.restart_process(view.id, "decode-0")
    again = fake.wait(view.id, "ready")
    assert [process.restarts for process in again.processes] == [1, 0, 0]
    fake.runs.stop(view.id)
    with pytest.raises(ConflictError, match="has ended: it is stopped; start it again with `pdpanel up --resume"):
        fake.runs.restart_process(view.id, "decode-0")
