"""Attached runs with a real runner: servers of the test are watched, and nothing ever happens to them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_workers import fake_deployment, serving, worker_answers
from pdpanel.engine.errors import ConfigError, ConflictError
from pdpanel.panel.attach.request import AttachRequest, WantedWorker
from pdpanel.panel.config import read_config
from pdpanel.panel.launch import Role
from pdpanel.panel.logs.log_file import open_log
from pdpanel.panel.runner.lifecycle import FINAL, ProcessState, RunState
from pdpanel.panel.runs import Runs, RunView


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(read_config({}, state_dir=tmp_path / "state", cache_dir=tmp_path / "c", config_dir=tmp_path / "d"))
    yield runs
    for view in runs.list():
        if view.state not in FINAL:
            runs.stop(view.id)


def wait_for(runs: Runs, run_id: str, reached: Callable[[RunView], bool]) -> RunView:
    deadline = time.monotonic() + 30
    while not reached(view := runs.get(run_id)):
        assert time.monotonic() < deadline, view
        time.sleep(0.02)
    return view


def test_a_deployment_is_watched_and_left_alone(runs: Runs) -> None:
    with fake_deployment() as (prefill, decode, router):
        view = runs.attach(AttachRequest(router=router.url, api_key="the-key"))
        assert view.attached
        assert [process.name for process in view.processes] == ["prefill-0", "decode-0", "router"]
        view = wait_for(runs, view.id, lambda now: now.state is RunState.READY)
        assert (view.model, view.transport) == ("fake-model", "mooncake")
        assert {process.pid for process in view.processes} == {None}
        deadline = time.monotonic() + 20
        while not any(row.values.get("proc/decode-0/running") == 3 for row in runs.samples(view.id).rows):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for refused in (runs.stop_process, runs.restart_process):
            with pytest.raises(ConflictError, match="only watched"):
                refused(view.id, "decode-0")

        decode.answers["/health"] = 503
        view = wait_for(runs, view.id, lambda now: now.state is RunState.DEGRADED)
        (lost,) = [process for process in view.processes if process.name == "decode-0"]
        assert "no answer since" in lost.reason
        assert "503" in lost.reason
        decode.answers |= worker_answers("decode")
        wait_for(runs, view.id, lambda now: now.state is RunState.READY)

        key = Path(view.processes[0].log).parent.parent / "api_key"
        assert key.stat().st_mode & 0o777 == 0o600
        assert prefill.headers["Authorization"] == "Bearer the-key"
        others = [path for path in key.parent.rglob("*") if path.is_file() and path != key]
        assert not any(b"the-key" in path.read_bytes() for path in others)

        ended = runs.stop(view.id)
        assert ended.state is RunState.STOPPED
        assert "left as they are" in ended.notice
        with serving({}) as other:
            assert other.url != decode.url  # the port is still theirs


def test_a_runner_that_is_killed_is_replaced_and_nothing_else_happens(runs: Runs) -> None:
    with serving(worker_answers("null")) as worker:
        view = runs.attach(AttachRequest(workers=(WantedWorker(worker.url),)))
        view = wait_for(runs, view.id, lambda now: now.state is RunState.READY)
        log = Path(view.processes[0].log).parent.parent / "runner.sock"
        (pid,) = [
            int(entry)
            for entry in os.listdir("/proc")
            if entry.isdigit() and str(log.parent).encode() in Path(f"/proc/{entry}/cmdline").read_bytes()
        ]
        os.kill(pid, signal.SIGKILL)
        lost = wait_for(runs, view.id, lambda now: now.state is RunState.UNSUPERVISED)
        assert "nobody watches" in lost.notice
        assert runs.adopt(view.id).state is not RunState.UNSUPERVISED
        wait_for(runs, view.id, lambda now: now.state is RunState.READY)


def test_a_worker_that_came_back_with_another_role_is_said(runs: Runs) -> None:
    with serving(worker_answers("prefill")) as worker:
        view = runs.attach(AttachRequest(workers=(WantedWorker(worker.url, Role.DECODE),)))
        view = wait_for(runs, view.id, lambda now: now.processes[0].stage == "wrong role")
        assert "prefill, not decode" in view.processes[0].reason
        assert view.processes[0].state is ProcessState.RESTARTING


def test_logs_alone_are_processes_whose_log_is_read_through_a_link(runs: Runs, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "prefill_NODE0.log").write_text("one\n")
    (folder / "decode_NODE0.log").write_text("two\n")
    view = runs.attach(AttachRequest(log_folder=str(folder)))
    view = wait_for(runs, view.id, lambda now: now.state is RunState.READY)
    assert "grew last at" in view.processes[0].stage
    with open_log(runs.log_path(view.id, "prefill-0")) as file:
        assert file.read(0, 10) == b"one\n"
    (folder / "decode_NODE0.log").unlink()
    wait_for(runs, view.id, lambda now: now.processes[1].stage == "no log")


def test_what_cannot_be_watched_leaves_nothing_behind(runs: Runs) -> None:
    with serving({"/health": {}}) as silent, pytest.raises(ConfigError, match="does not say its role"):
        runs.attach(AttachRequest(workers=(WantedWorker(silent.url),)))
    with serving({}) as gone:
        url = gone.url
    with pytest.raises(ConfigError, match="does not answer"):
        runs.attach(AttachRequest(router=url))
    assert runs.list() == []


def test_a_router_that_names_a_metadata_service_is_not_obeyed(runs: Runs) -> None:
    with serving(worker_answers("prefill")) as worker:
        workers = {"urls": ["http://169.254.169.254", "file:///etc/passwd", worker.url]}
        with serving({"/health": {}, "/list_workers": workers}) as router:
            view = runs.attach(AttachRequest(router=router.url))
            assert [process.name for process in view.processes] == ["prefill-0", "router"]


def test_redirects_are_not_followed(runs: Runs) -> None:
    moved = {"/health": 302, "/server_info": 302}
    with serving(worker_answers("prefill")) as other, serving(moved) as worker:
        worker.answers["location"] = f"{other.url}/health"
        view = runs.attach(AttachRequest(workers=(WantedWorker(worker.url, Role.PREFILL),)))
        wait_for(runs, view.id, lambda now: "302" in now.processes[0].stage)
        assert other.asked == []
