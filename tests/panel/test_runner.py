"""A runner with real processes: order, readiness, crashes, ends, and a life without the runner."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from pdpanel.engine.errors import ConfigError, ConflictError, NotFoundError, PeerError
from pdpanel.panel.ports import is_free
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.runner import protocol
from pdpanel.panel.runner.client import ask
from pdpanel.panel.runner.procfs import is_alive
from pdpanel.panel.runner.state import read_record
from pdpanel.panel.views import RunView

from .conftest import FakeRuns, wait_for


def rundir_of(fake: FakeRuns, view: RunView) -> RunDir:
    return RunDir(fake.config.runs_dir / view.id)


def journal(fake: FakeRuns, view: RunView) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rundir_of(fake, view).runner_log.read_text().splitlines()]


def pid_of(view: RunView, name: str) -> int:
    pid = next(process.pid for process in view.processes if process.name == name)
    assert pid is not None
    return pid


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_all_are_spawned_at_once_and_the_run_is_ready_when_the_last_one_is(fake: FakeRuns) -> None:
    fake.delay_s = {"router": 0.4}
    view = fake.start()
    assert view.state == "starting"
    view = fake.wait(view.id, "ready")
    assert {process.state for process in view.processes} == {"ready"}
    wait_for(lambda: sum(e["event"] == "startup" for e in journal(fake, view)) == 2, "both workers' phases")
    events = journal(fake, view)
    assert [e["process"] for e in events if e["event"] == "spawn"] == ["decode-0", "prefill-0", "router"]
    assert [e["process"] for e in events if e["event"] == "ready"][-1] == "router"
    spawned = max(e["t"] for e in events if e["event"] == "spawn")
    assert spawned < min(e["t"] for e in events if e["event"] == "ready")
    assert {"import torch": 0.5, "weights": 0.1} in [e.get("seconds") for e in events]


def test_after_holds_a_process_back_until_another_is_ready(fake: FakeRuns) -> None:
    fake.change = lambda spec: replace(spec, after=("decode-0",)) if spec.name == "prefill-0" else spec
    fake.delay_s = {"decode-0": 0.3}
    view = fake.wait(fake.start().id, "ready")
    events = [(e["event"], e.get("process")) for e in journal(fake, view)]
    assert events.index(("spawn", "prefill-0")) > events.index(("ready", "decode-0"))


def test_what_a_process_says_while_it_starts_is_its_stage(fake: FakeRuns) -> None:
    fake.delay_s = {"decode-0": 0.5}
    view = fake.start()
    wait_for(lambda: fake.runs.get(view.id).processes[0].stage == "loading weights", "the stage")
    assert fake.wait(view.id, "ready").processes[0].stage == ""


def test_a_crash_is_shown_with_its_reason_and_the_run_is_degraded(fake: FakeRuns) -> None:
    fake.behaviour = {"decode-0": "crash"}
    view = fake.start()
    view = fake.wait(view.id, "degraded")
    assert (view.processes[0].state, view.processes[0].pid) == ("crashed", None)
    assert view.processes[0].reason == "exit code 3: RuntimeError: no such model"
    assert view.processes[0].exit_code == 3
    found = wait_for(lambda: fake.runs.get(view.id).processes[0].findings, "what the doctor says")
    assert found[0].id == "exit-failed"


def test_a_process_that_is_not_ready_in_time_is_ended(fake: FakeRuns) -> None:
    fake.behaviour = {"decode-0": "never-ready"}
    view = fake.wait_process(fake.start().id, "decode-0", "crashed")
    assert view.processes[0].reason == "Not ready within 2 s (last seen: loading weights)."
    wait_for(lambda: is_free("127.0.0.1", view.processes[0].port), "its port is free")


def test_a_command_that_cannot_be_started_is_a_crash_with_a_sentence(fake: FakeRuns, tmp_path: Path) -> None:
    """The program is there, so that a start is tried, but what it names to run it is not."""
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    fake.change = lambda spec: replace(spec, argv=(str(program),)) if spec.name == "decode-0" else spec
    view = fake.wait_process(fake.start().id, "decode-0", "crashed")
    assert "/program': cannot be started: No such file" in view.processes[0].reason


def test_a_command_that_is_not_here_is_said_before_anything_starts(fake: FakeRuns) -> None:
    fake.change = lambda spec: replace(spec, argv=("/no/such/program",)) if spec.name == "decode-0" else spec
    with pytest.raises(ConfigError, match="is not a program of this host"):
        fake.start()
    assert fake.runs.list() == []


def test_stop_ends_what_ignores_sigterm_and_what_left_the_group(fake: FakeRuns) -> None:
    fake.behaviour = {"decode-0": "ignore-term grandchild", "prefill-0": "grandchild"}
    view = fake.wait(fake.start().id, "ready")
    pids = [pid_of(view, process.name) for process in view.processes]
    grandchildren = [
        int((rundir_of(fake, view).path / f"{name}.grandchild").read_text()) for name in ("decode-0", "prefill-0")
    ]
    assert all(is_running(pid) for pid in (*pids, *grandchildren))
    assert all(os.getsid(pid) not in pids for pid in grandchildren)
    said: list[str] = []
    view = fake.runs.stop(view.id, said.append)
    assert view.state == "stopped"
    assert {process.state for process in view.processes} == {"stopped"}
    assert not any(is_running(pid) for pid in (*pids, *grandchildren))
    assert all(is_free("127.0.0.1", process.port) for process in view.processes)
    assert "killing decode-0, which did not end within 0.5 s" in said
    assert fake.runs.get(view.id).state == "stopped"
    assert fake.runs.stop(view.id).state == "stopped"


def test_a_crashed_process_leaves_nothing_behind(fake: FakeRuns) -> None:
    fake.behaviour = {"decode-0": "grandchild"}
    view = fake.wait(fake.start(restart="never").id, "ready")
    grandchild = int((rundir_of(fake, view).path / "decode-0.grandchild").read_text())
    os.kill(pid_of(view, "decode-0"), signal.SIGKILL)
    fake.wait_process(view.id, "decode-0", "crashed")
    wait_for(lambda: not is_running(grandchild), "the grandchild ended")


def test_one_process_is_stopped_and_started_anew(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    before = pid_of(view, "decode-0")
    view = fake.runs.stop_process(view.id, "decode-0")
    assert (view.state, view.processes[0].state, view.processes[0].pid) == ("degraded", "stopped", None)
    fake.runs.restart_process(view.id, "decode-0")
    view = fake.wait(view.id, "ready")
    assert pid_of(view, "decode-0") != before
    assert view.processes[0].restarts == 1
    fake.runs.restart_process(view.id, "decode-0")
    assert fake.wait(view.id, "ready").processes[0].restarts == 2


def test_names_from_outside_are_looked_up(fake: FakeRuns) -> None:
    view = fake.start()
    for bad in ("decode-7", "../x", ""):
        for act in (fake.runs.stop_process, fake.runs.restart_process, fake.runs.log_path):
            with pytest.raises(NotFoundError):
                act(view.id, bad)
        with pytest.raises(NotFoundError):
            fake.runs.get(bad)
        with pytest.raises(NotFoundError):
            fake.runs.stop(bad)
    assert fake.runs.log_path(view.id, "decode-0") == rundir_of(fake, view).logs / "decode-0.log"
    assert fake.runs.log_path(view.id, "runner") == rundir_of(fake, view).runner_log


def test_children_go_on_without_their_runner_and_can_still_be_stopped(fake: FakeRuns) -> None:
    fake.behaviour = {"prefill-0": "grandchild", "decode-0": "ignore-term"}
    view = fake.wait(fake.start().id, "ready")
    grandchild = int((rundir_of(fake, view).path / "prefill-0.grandchild").read_text())
    record = read_record(rundir_of(fake, view).state)
    assert record is not None and record.runner_pid is not None
    os.kill(record.runner_pid, signal.SIGKILL)
    runner = record.runner_pid
    wait_for(lambda: not is_running(runner), "the runner's end")
    lost = fake.runs.get(view.id)
    assert (lost.state, lost.supervised) == ("unsupervised", False)
    assert [process.state for process in lost.processes] == ["ready"] * 3
    assert all(is_running(pid_of(view, process.name)) for process in view.processes)
    ended = fake.runs.stop(view.id)
    assert ended.state == "stopped"
    assert not is_running(grandchild)
    assert not any(is_running(pid_of(view, process.name)) for process in view.processes)
    assert all(is_free("127.0.0.1", process.port) for process in view.processes)
    assert fake.runs.get(view.id).state == "stopped"


def test_a_pid_that_belongs_to_somebody_else_by_now_is_left_alone(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    rundir = rundir_of(fake, view)
    record = read_record(rundir.state)
    assert record is not None and record.runner_pid is not None
    fake.runs.stop(view.id)
    # The record of a killed runner whose processes are gone, and whose pids are this test's by now.
    processes = tuple(replace(process, state="ready", pid=os.getpid(), start_ticks=1) for process in record.processes)  # type: ignore[arg-type]
    rundir.write(rundir.state, msgspec.json.encode(replace(record, processes=processes)))
    assert fake.runs.get(view.id).state == "stopped"
    assert fake.runs.stop(view.id).state == "stopped"
    assert not is_alive(os.getpid(), 1)


def test_processes_of_an_earlier_boot_are_gone(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    rundir = rundir_of(fake, view)
    record = read_record(rundir.state)
    assert record is not None
    fake.runs.stop(view.id)
    rundir.write(rundir.state, msgspec.json.encode(replace(record, boot_id="another")))
    found = fake.runs.get(view.id)
    assert (found.state, found.notice) == ("stopped", "ended by a restart of this host")


def test_sigterm_to_the_runner_stops_the_run(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    record = read_record(rundir_of(fake, view).state)
    assert record is not None and record.runner_pid is not None
    os.kill(record.runner_pid, signal.SIGTERM)
    view = fake.wait(view.id, "stopped")
    assert not any(process.pid for process in view.processes)


def test_shutdown_ends_the_runner_alone(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    ask(rundir_of(fake, view), protocol.Shutdown())
    view = fake.wait(view.id, "unsupervised")
    assert all(is_running(pid_of(view, process.name)) for process in view.processes)


def test_two_runs_side_by_side(fake: FakeRuns) -> None:
    one = fake.start(name="one")
    two = fake.start(name="two")
    ports = [process.port for view in (one, two) for process in view.processes]
    assert len(set(ports)) == 6
    fake.wait(one.id, "ready")
    fake.wait(two.id, "ready")
    latest = fake.runs.latest()
    assert latest is not None and latest.id == two.id
    assert fake.runs.stop(two.id).state == "stopped"
    assert fake.runs.get(one.id).state == "ready"
    assert {view.id for view in fake.runs.list()} == {one.id, two.id}


def test_starts_at_the_same_time_get_different_ports(fake: FakeRuns) -> None:
    with ThreadPoolExecutor(3) as threads:
        views = list(threads.map(lambda name: fake.start(name=name), ("a", "b", "c")))
    ports = [process.port for view in views for process in view.processes]
    assert len(set(ports)) == 9
    for view in views:
        fake.wait(view.id, "ready")


def test_stop_of_a_run_that_is_just_starting(fake: FakeRuns) -> None:
    """A runner that has not taken its run over yet must not start it after the stop."""
    with ThreadPoolExecutor(1) as threads:
        starting = threads.submit(fake.start)
        view = wait_for(fake.runs.latest, "the run")
        assert fake.runs.stop(view.id).state == "stopped"
        with suppress(PeerError):
            starting.result()
    assert fake.runs.get(view.id).state == "stopped"
    assert not any(process.pid for process in fake.runs.get(view.id).processes)


def test_samples_come_from_the_runner_and_then_from_the_file(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    key = "link/prefill-0>decode-0/kv_bytes_per_s"
    wait_for(lambda: any(row.values.get(key, 0) > 0 for row in fake.runs.samples(view.id).rows), "a transfer")
    batch = fake.runs.samples(view.id)
    assert batch.series[key].unit == "B/s"
    assert set(batch.rows[-1].values) <= set(batch.series)
    assert fake.runs.get(view.id).processes[0].rss_bytes
    last = batch.rows[-1].seq
    newer = wait_for(lambda: fake.runs.samples(view.id, last).rows, "a newer row")
    assert newer[0].seq == last + 1
    fake.runs.stop(view.id)
    kept = fake.runs.samples(view.id)
    assert kept.rows[: len(batch.rows)] == batch.rows
    assert kept.series == batch.series


PREPARE = """
import json, sys, time
print(json.dumps({"stage": "download", "done": 45000000, "total": 93000000}), flush=True)
deadline = time.monotonic() + 20
while not __import__("os").path.exists("go") and time.monotonic() < deadline: time.sleep(0.01)
"""


def test_the_model_is_prepared_once_and_its_progress_is_the_notice(fake: FakeRuns) -> None:
    fake.prepare_code = PREPARE
    fake.config.cache_dir.mkdir(parents=True)
    view = fake.start(model="hub/Some-Model")
    wait_for(lambda: fake.runs.get(view.id).notice == "fetching Some-Model 45 of 93 MB", "the notice")
    assert {process.state for process in fake.runs.get(view.id).processes} == {"pending"}
    (rundir_of(fake, view).path / "go").touch()
    view = fake.wait(view.id, "ready")
    assert view.notice == ""
    # The second time nothing waits for the file.
    again = fake.start(model="hub/Some-Model")
    fake.wait(again.id, "ready")
    assert not fake.runs.log_path(again.id, "model").exists()


def test_a_model_that_cannot_be_prepared_fails_the_run_with_its_sentence(fake: FakeRuns) -> None:
    fake.prepare_code = """import sys
print("{}")
print("model = 'x': no such model; name another.", file=sys.stderr)
sys.exit(2)
"""
    view = fake.wait(fake.start().id, "failed")
    assert view.notice == "model = 'x': no such model; name another."
    with pytest.raises(ConflictError, match="no usable model"):
        fake.runs.restart_process(view.id, "decode-0")
    assert fake.runs.stop(view.id).state == "failed"
    assert fake.runs.get(view.id).supervised is False


def test_stop_ends_a_preparation(fake: FakeRuns) -> None:
    fake.prepare_code = PREPARE
    view = fake.start()
    wait_for(lambda: fake.runs.get(view.id).notice.startswith("fetching"), "the notice")
    marks = f"PDPANEL_RUN_ID={view.id}".encode()
    assert fake.runs.stop(view.id).state == "stopped"
    assert not [pid for pid in psutil.pids() if _has_marks(pid, marks)]


def _has_marks(pid: int, marks: bytes) -> bool:
    try:
        return marks in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def test_the_socket_is_for_its_owner_alone(fake: FakeRuns) -> None:
    view = fake.start()
    path = rundir_of(fake, view).path / "runner.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"{}",
        b"\xff\xff",
        b"[" * 60000,
        b'{"op": "run", "argv": ["sh"]}',
        b'{"op": "stop_process", "name": "decode-9"}',
        b'{"op": "stop_process", "name": ["decode-0"]}',
        b'{"op": "status", "more": 1}',
        b'{"op": "samples", "since": "all"}',
        b"x" * 100_000,
    ],
)
def test_garbage_is_answered_with_an_error_and_harms_nothing(fake: FakeRuns, line: bytes) -> None:
    view = fake.start()
    with rundir_of(fake, view).socket_address() as address, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(address)
        client.sendall(line + b"\n")
        answer = json.loads(client.makefile("rb").readline())
    assert answer["kind"] == "reply" and answer["error"]
    assert fake.wait(view.id, "ready").state == "ready"


def test_the_runner_stays_small_and_imports_nothing_heavy(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    record = read_record(rundir_of(fake, view).state)
    assert record is not None and record.runner_pid is not None
    runner = psutil.Process(record.runner_pid)
    assert runner.memory_info().rss < 60_000_000
    mapped = {Path(found.path).name for found in runner.memory_maps()}
    assert not any("torch" in name or "pydantic_core" in name for name in mapped)


def test_a_second_runner_of_the_same_run_gives_up(fake: FakeRuns) -> None:
    from pdpanel.panel.runner.spawn import spawn_runner

    view = fake.wait(fake.start().id, "ready")
    assert spawn_runner(rundir_of(fake, view)).wait(20) == 1
    assert fake.runs.get(view.id).state == "ready"
