"""kill -9 of a runner at each moment of a run's life, and what the next runner makes of what is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest
from pdpanel.engine.errors import ConfigError, ConflictError, PeerError
from pdpanel.panel.ports import is_free
from pdpanel.panel.runner import protocol
from pdpanel.panel.runner.client import ask
from pdpanel.panel.runner.procfs import all_stats, variables
from pdpanel.panel.runner.state import RunRecord, read_record
from pdpanel.panel.views import RunView

from .conftest import FakeRuns, wait_for
from .test_runner import PREPARE, is_running, journal, pid_of, rundir_of

UNKNOWN = "ended; its exit code is unknown because its runner had ended before"


def kill_runner(fake: FakeRuns, view: RunView) -> None:
    record = record_of(fake, view)
    assert record.runner_pid is not None
    os.kill(record.runner_pid, signal.SIGKILL)
    wait_for(lambda: not rundir_of(fake, view).is_supervised(), "the runner's end")


def record_of(fake: FakeRuns, view: RunView) -> RunRecord:
    record = read_record(rundir_of(fake, view).state)
    assert record is not None
    return record


def leaders(view: RunView, name: str) -> list[int]:
    """Returns the processes that lead a session in the name of the run's process `name`."""
    marks = {"PDPANEL_RUN_ID": view.id, "PDPANEL_PROCESS": name}
    return [s.pid for s in all_stats() if s.session == s.pid and variables(s.pid, marks) == marks]


def spawns(fake: FakeRuns, view: RunView) -> list[str]:
    return [entry["process"] for entry in journal(fake, view) if entry["event"] == "spawn"]


def test_a_new_runner_takes_over_what_is_ready(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    pids = [process.pid for process in view.processes]
    kill_runner(fake, view)
    rows = fake.runs.samples(view.id).last_seq
    adopted = fake.runs.adopt(view.id)
    assert (adopted.id, adopted.state, adopted.supervised, adopted.notice) == (view.id, "ready", True, "")
    assert [process.pid for process in adopted.processes] == pids
    assert len(spawns(fake, view)) == 3, "nothing was started a second time"
    wait_for(lambda: fake.runs.samples(view.id, rows).rows, "samples go on")
    assert fake.runs.adopt(view.id).processes[0].pid == pids[0], "and again changes nothing"
    assert fake.runs.restart_process(view.id, "decode-0")
    fake.wait(view.id, "ready")
    assert fake.runs.stop(view.id).state == "stopped"
    assert not any(is_running(pid) for pid in pids if pid is not None)
    with pytest.raises(ConflictError, match="has ended: it is stopped"):
        fake.runs.adopt(view.id)


def test_an_adopted_process_that_dies_is_started_again_and_its_exit_code_is_unknown(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    kill_runner(fake, view)
    fake.runs.adopt(view.id)
    os.kill(pid_of(view, "decode-0"), signal.SIGKILL)
    process = fake.wait_process(view.id, "decode-0", "restarting").processes[0]
    assert process.reason.startswith(UNKNOWN)
    assert process.exit_code is None
    again = fake.wait(view.id, "ready").processes[0]
    assert (again.restarts, again.pid != pid_of(view, "decode-0")) == (1, True)


def test_what_died_while_nobody_looked_is_started_again(fake: FakeRuns) -> None:
    fake.behaviour = {"prefill-0": "grandchild"}
    view = fake.wait(fake.start().id, "ready")
    grandchild = int((rundir_of(fake, view).path / "prefill-0.grandchild").read_text())
    kill_runner(fake, view)
    os.kill(pid_of(view, "prefill-0"), signal.SIGKILL)
    wait_for(lambda: not is_running(pid_of(view, "prefill-0")), "its end")
    lost = fake.runs.get(view.id)
    assert (lost.state, lost.processes[1].state, lost.processes[1].pid) == ("unsupervised", "stopped", None)
    fake.runs.adopt(view.id)
    view = fake.wait(view.id, "ready")
    assert view.processes[1].restarts == 1
    assert view.processes[1].reason.startswith(UNKNOWN)
    assert not is_running(grandchild), "what it left is cleared away first"
    assert [process.restarts for process in view.processes] == [0, 1, 0]


def test_killed_in_the_pause_before_a_restart(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    os.kill(pid_of(view, "decode-0"), signal.SIGKILL)
    fake.wait_process(view.id, "decode-0", "restarting")
    wait_for(lambda: record_of(fake, view).processes[0].state == "restarting", "the record")
    kill_runner(fake, view)
    assert fake.runs.get(view.id).state == "unsupervised"
    fake.runs.adopt(view.id)
    view = fake.wait(view.id, "ready")
    assert (view.processes[0].restarts, view.processes[0].reason) == (1, "ended by SIGKILL")


def test_killed_during_the_start_with_some_processes_waiting(fake: FakeRuns) -> None:
    fake.change = lambda spec: replace(spec, after=("decode-0",)) if spec.name == "router" else spec
    fake.delay_s = {"decode-0": 1.5}
    view = fake.start()
    wait_for(lambda: record_of(fake, view).processes[0].pid is not None, "the start is on record")
    kill_runner(fake, view)
    lost = fake.runs.get(view.id)
    assert (lost.state, lost.processes[2].state) == ("unsupervised", "pending")
    with ThreadPoolExecutor(3) as threads:
        adopted = list(threads.map(fake.runs.adopt, [view.id] * 3))
    assert {found.id for found in adopted} == {view.id}
    view = fake.wait(view.id, "ready")
    for process in view.processes:
        assert leaders(view, process.name) == [process.pid], "each lives once, whoever wins the lock"


def test_killed_while_the_model_is_prepared(fake: FakeRuns) -> None:
    fake.prepare_code = PREPARE
    fake.config.cache_dir.mkdir(parents=True)
    view = fake.start(model="hub/Some-Model")
    wait_for(lambda: fake.runs.get(view.id).notice.startswith("fetching"), "the notice")
    kill_runner(fake, view)
    assert fake.runs.get(view.id).state == "unsupervised", "its download goes on"
    before = leaders(view, "model")
    assert fake.runs.adopt(view.id).state == "starting"
    wait_for(lambda: fake.runs.get(view.id).notice == "fetching Some-Model 45 of 93 MB", "the same notice")
    assert leaders(view, "model") == before, "and not a second time"
    (rundir_of(fake, view).path / "go").touch()
    assert fake.wait(view.id, "ready").notice == ""


@pytest.mark.slow
def test_killed_while_the_model_is_prepared_and_stopped_without_a_runner(fake: FakeRuns) -> None:
    fake.prepare_code = PREPARE
    view = fake.start()
    wait_for(lambda: fake.runs.get(view.id).notice.startswith("fetching"), "the notice")
    kill_runner(fake, view)
    assert fake.runs.stop(view.id).state == "stopped"
    assert not leaders(view, "model")


def test_killed_during_a_stop_is_finished_by_the_next_runner(fake: FakeRuns) -> None:
    fake.behaviour = {"decode-0": "ignore-term"}
    fake.change = lambda spec: replace(spec, grace_s=60.0) if spec.name == "decode-0" else spec
    view = fake.wait(fake.start().id, "ready")
    with ThreadPoolExecutor(1) as threads:
        # Asked by a client that gives up: `Runs.stop` would end the rest itself.
        stopping = threads.submit(ask, rundir_of(fake, view), protocol.Stop(), 60.0)
        wait_for(lambda: record_of(fake, view).stop_asked, "the stop is on record")
        rundir = rundir_of(fake, view)
        record = record_of(fake, view)
        # A short grace for the second one: the first was killed within its long grace.
        short = tuple(replace(process, grace_s=0.5) for process in record.processes)
        kill_runner(fake, view)
        rundir.write(rundir.state, msgspec.json.encode(replace(record, processes=short)))
        adopted = fake.runs.adopt(view.id)
        assert adopted.state in {"stopping", "stopped"}
        with pytest.raises(PeerError):
            stopping.result(60)
    assert fake.wait(view.id, "stopped").ended_at is not None
    assert not is_running(pid_of(view, "decode-0"))


def test_killed_during_a_restart_of_the_whole_run(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    kill_runner(fake, view)
    rundir = rundir_of(fake, view)
    record = record_of(fake, view)
    rundir.write(rundir.state, msgspec.json.encode(replace(record, restart_asked=True)))
    fake.runs.adopt(view.id)
    again = wait_for(lambda: (now := fake.wait(view.id, "ready")).processes[0].restarts == 1 and now, "the restart")
    assert all(not is_running(pid_of(view, process.name)) for process in view.processes)
    assert again.state == "ready"


@pytest.mark.parametrize("state", ["stopping", "stopped"])
def test_killed_between_the_end_and_the_start_of_a_restarted_process(fake: FakeRuns, state: str) -> None:
    view = fake.wait(fake.start().id, "ready")
    kill_runner(fake, view)
    rundir, record = rundir_of(fake, view), record_of(fake, view)
    decode = replace(record.processes[0], state=state, again=True)  # type: ignore[arg-type]
    rundir.write(rundir.state, msgspec.json.encode(replace(record, processes=(decode, *record.processes[1:]))))
    fake.runs.adopt(view.id)
    again = wait_for(lambda: (now := fake.wait(view.id, "ready")).processes[0].restarts == 1 and now, "the restart")
    assert pid_of(again, "decode-0") != pid_of(view, "decode-0")
    assert leaders(view, "decode-0") == [pid_of(again, "decode-0")]


def test_an_unrecorded_start_is_not_left_beside_a_second_one(fake: FakeRuns) -> None:
    """The runner was killed after it had started a process and before it had written that down."""
    view = fake.wait(fake.start().id, "ready")
    kill_runner(fake, view)
    rundir, record = rundir_of(fake, view), record_of(fake, view)
    unwritten = replace(record.processes[2], state="pending", pid=None, start_ticks=None)  # type: ignore[arg-type]
    rundir.write(rundir.state, msgspec.json.encode(replace(record, processes=(*record.processes[:2], unwritten))))
    fake.runs.adopt(view.id)
    again = fake.wait(view.id, "ready")
    assert leaders(view, "router") == [pid_of(again, "router")]
    assert pid_of(again, "router") != pid_of(view, "router")


def test_of_a_run_with_nothing_alive_the_end_is_written_down(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    kill_runner(fake, view)
    for process in view.processes:
        os.kill(pid_of(view, process.name), signal.SIGKILL)
    wait_for(lambda: fake.runs.get(view.id).state == "stopped", "nothing is alive")
    told: list[str] = []
    assert [found.state for found in fake.runs.adopt_all(told.append)] == ["stopped"]
    assert told == [f"{view.id} is stopped: its runner ended without stopping the run"]
    assert record_of(fake, view).state == "stopped"
    assert fake.runs.adopt_all(told.append) == []


def test_one_that_cannot_be_taken_over_stops_no_other(fake: FakeRuns) -> None:
    broken = fake.wait(fake.start(name="broken").id, "ready")
    view = fake.wait(fake.start().id, "ready")
    kill_runner(fake, broken)
    kill_runner(fake, view)
    rundir_of(fake, broken).plan.write_text("{}")
    told: list[str] = []
    assert [found.id for found in fake.runs.adopt_all(told.append)] == [view.id]
    assert f"{view.id} is ready: it has a runner again" in told
    (problem,) = (line for line in told if line.startswith(broken.id))
    assert "could not be taken over" in problem and "plan.json" in problem
    assert fake.runs.get(broken.id).state == "unsupervised", "and can still be stopped"


def test_a_reboot_ends_a_run_and_resume_starts_it_again_as_the_same_run(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    rundir, record = rundir_of(fake, view), record_of(fake, view)
    fake.runs.stop(view.id)
    rundir.write(rundir.state, msgspec.json.encode(replace(record, boot_id="another")))
    found = fake.runs.get(view.id)
    assert (found.state, found.notice) == ("stopped", "ended by a restart of this host")
    assert found.ended_at is not None and found.ended_at >= view.created_at
    assert {process.pid for process in found.processes} == {None}
    assert fake.runs.adopt(view.id).notice == found.notice
    rows = fake.runs.samples(view.id).last_seq
    resumed = fake.runs.resume(view.id)
    assert (resumed.id, resumed.state, resumed.ended_at) == (view.id, "starting", None)
    assert resumed.resumed_at is not None
    again = fake.wait(view.id, "ready")
    assert [process.port for process in again.processes] == [process.port for process in view.processes]
    assert fake.runs.samples(view.id, rows).last_seq > rows or fake.runs.samples(view.id).last_seq > rows
    log = fake.runs.log_path(view.id, "router").read_text()
    assert log.count("router listens on") == 2
    assert "--- pdpanel starts it again: " in log
    with pytest.raises(ConflictError, match="is ready; restart it"):
        fake.runs.resume(view.id)


def test_resume_names_who_holds_a_port(fake: FakeRuns, listen_on: Callable[[int], None]) -> None:
    view = fake.wait(fake.start().id, "ready")
    fake.runs.stop(view.id)
    port = next(process.port for process in view.processes if process.name == "router")
    listen_on(port)
    with pytest.raises(ConfigError, match=f"router.ports.http = {port}.*is held by process {os.getpid()}"):
        fake.runs.resume(view.id)
    assert fake.runs.get(view.id).state == "stopped"


@pytest.mark.slow
def test_resume_names_the_run_that_has_a_port_by_now(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    fake.runs.stop(view.id)
    other = fake.start(name="other")
    with pytest.raises(ConfigError, match=f"belongs to the run {other.id}"):
        fake.runs.resume(view.id)


def test_restart_of_the_whole_run(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    again = fake.runs.restart(view.id)
    assert again.state == "starting"
    again = fake.wait(view.id, "ready")
    assert [process.restarts for process in again.processes] == [1, 1, 1]
    assert not any(is_running(pid_of(view, process.name)) for process in view.processes)
    assert all(not is_free("127.0.0.1", process.port) for process in again.processes)
    kill_runner(fake, view)
    assert fake.runs.restart(view.id).supervised, "without a runner it is adopted first"
    fake.wait(view.id, "ready")
    fake.runs.stop(view.id)
    assert fake.runs.restart(view.id).resumed_at is not None, "and resumed after its end"
    fake.wait(view.id, "ready")


def test_a_failed_run_can_be_started_again(fake: FakeRuns) -> None:
    fake.prepare_code = """import os, sys
if not os.path.exists("go"):
    sys.exit("model = 'x': no such model; name another.")
"""
    fake.config.cache_dir.mkdir(parents=True)
    view = fake.wait(fake.start().id, "failed")
    assert view.ended_at is not None
    (rundir_of(fake, view).path / "go").touch()
    fake.runs.resume(view.id)
    assert fake.wait(view.id, "ready").notice == ""
    fake.runs.stop(view.id)
    assert fake.wait(fake.runs.resume(view.id).id, "ready").ended_at is None


@pytest.mark.slow
def test_a_pid_of_somebody_else_is_not_adopted(fake: FakeRuns) -> None:
    """Same pid and start ticks cannot be, but the same pid with a mark of another run can."""
    view = fake.wait(fake.start().id, "ready")
    other = fake.wait(fake.start(name="other").id, "ready")
    kill_runner(fake, view)
    rundir, record = rundir_of(fake, view), record_of(fake, view)
    theirs = record_of(fake, other).processes[0]
    mixed = replace(record.processes[0], pid=theirs.pid, start_ticks=theirs.start_ticks)
    rundir.write(rundir.state, msgspec.json.encode(replace(record, processes=(mixed, *record.processes[1:]))))
    fake.runs.adopt(view.id)
    fake.wait(view.id, "ready")
    assert fake.runs.stop(view.id).state == "stopped"
    assert psutil.pid_exists(theirs.pid or 0) and fake.runs.get(other.id).state == "ready"
    assert Path(f"/proc/{theirs.pid}").exists()
