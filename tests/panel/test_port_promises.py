"""Starts below different state directories, at the same moment and one after the other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.config import PanelConfig, _runtime_dir, read_config
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.port_promises import PortPromises, claim_own_folder
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.runner.lifecycle import RunState
from pdpanel.panel.runner.procfs import boot_id
from pdpanel.panel.runner.state import encode_record, initial_record
from pdpanel.panel.runs import RunView

from .conftest import FakeRuns, wait_for
from .test_runner import is_running, pid_of
from .test_runner_adoption import kill_runner


@pytest.fixture
def others(tmp_path: Path) -> Iterator[list[FakeRuns]]:
    """Three panels of one user with a state directory each."""
    folder = tmp_path / "meeting"
    panels = [FakeRuns(tmp_path / str(number), runtime_dir=folder) for number in range(3)]
    with ExitStack() as stack:
        for each in panels:
            stack.callback(lambda each=each: [each.runs.stop(view.id) for view in each.runs.list()])
        yield panels


def ports_of(view: RunView) -> set[int]:
    return {process.port for process in view.processes}


def test_starts_at_the_same_moment_below_different_state_directories_share_no_port(others: list[FakeRuns]) -> None:
    """Each start took the first free ports of the bands; what the others had chosen was not bound yet."""
    with ThreadPoolExecutor(3) as threads:
        views = list(threads.map(lambda each: each.start(), others))
    ports = [port for view in views for port in ports_of(view)]
    assert len(ports) == len(set(ports)) == 9
    for each, view in zip(others, views, strict=True):
        assert each.wait(view.id, "ready").notice == ""


def test_a_port_stays_promised_as_long_as_the_run_lives(others: list[FakeRuns]) -> None:
    one, two, _ = others
    one.delay_s = {"decode-0": 30.0}
    view = one.start()
    promised = PortPromises(one.config.runtime_dir).promised()
    assert {port for port, run in promised.items() if run == view.id} >= ports_of(view)
    one.runs.stop(view.id)
    assert PortPromises(one.config.runtime_dir).promised() == {}
    files = list((one.config.runtime_dir / "ports").iterdir())
    assert len(files) == 1
    later = two.start()
    assert ports_of(later) == ports_of(view), "they are free again"
    assert len(list((one.config.runtime_dir / "ports").iterdir())) == 1, (
        "what is over is cleared away by the next start"
    )


def test_a_run_without_a_runner_keeps_its_ports_while_something_of_it_lives(others: list[FakeRuns]) -> None:
    """Also those of a process that has died meanwhile: whoever adopts the run starts it again on them."""
    one, two, three = others
    view = one.wait(one.start().id, "ready")
    kill_runner(one, view)
    dead = pid_of(view, "prefill-0")
    os.kill(dead, signal.SIGKILL)
    wait_for(lambda: not is_running(dead), "its end")
    promises = PortPromises(one.config.runtime_dir)
    assert promises.promised().keys() >= ports_of(view)
    assert not ports_of(view) & ports_of(two.start())
    one.runs.adopt(view.id)
    again = one.wait(view.id, "ready")
    assert [process.restarts for process in again.processes] == [0, 1, 0]
    kill_runner(one, again)
    for process in again.processes:
        os.kill(pid_of(again, process.name), signal.SIGKILL)
    wait_for(lambda: not promises.promised().keys() & ports_of(view), "nothing of it lives: its ports are free again")
    assert ports_of(three.start()) == ports_of(view)


def test_a_resume_names_the_run_of_another_state_directory_that_has_its_ports(others: list[FakeRuns]) -> None:
    one, two, _ = others
    view = one.start()
    one.runs.stop(view.id)
    two.delay_s = {"prefill-0": 30.0, "decode-0": 30.0}
    taker = two.start()
    with pytest.raises(ConfigError, match=f"belongs to the run {taker.id}"):
        one.runs.resume(view.id)


def promised_run(tmp_path: Path, promises: PortPromises, state: RunState, boot: str) -> tuple[RunDir, int | None]:
    rundir = RunDir(tmp_path / "state" / "runs" / f"{state}-{boot[:4]}")
    rundir.create()
    plan = LaunchPlan(run_name="x", host="127.0.0.1", model="m", transport="tcp", router_url="", processes=())
    record = replace(initial_record(rundir.run_id, plan, 0.0, boot), state=state)
    rundir.write(rundir.state, encode_record(record))
    with promises.one_start():
        promises.make(rundir, [1234])
    return rundir, rundir.try_lock()


def test_what_counts_is_the_run_and_not_the_file(tmp_path: Path) -> None:
    promises = PortPromises(tmp_path / "meeting")
    assert promises.promised() == {}
    assert not (tmp_path / "meeting").exists(), "a look makes nothing"
    rundir, lock = promised_run(tmp_path, promises, RunState.STARTING, boot_id())
    assert lock is not None
    assert promises.promised() == {1234: rundir.run_id}
    os.close(lock)
    assert promises.promised() == {}, "its starter died before it had a runner"
    for state, boot in ((RunState.FAILED, boot_id()), (RunState.READY, "another boot")):
        _, lock = promised_run(tmp_path, promises, state, boot)
        assert lock is not None
        assert promises.promised() == {}
        os.close(lock)


def test_ports_of_another_network_namespace_are_not_taken_here(tmp_path: Path) -> None:
    promises = PortPromises(tmp_path / "meeting")
    _, lock = promised_run(tmp_path, promises, RunState.STARTING, boot_id())
    assert lock is not None
    (file,) = (tmp_path / "meeting" / "ports").iterdir()
    file.write_text(file.read_text().replace(os.readlink("/proc/self/ns/net"), "net:[1]"))
    assert promises.promised() == {}
    os.close(lock)


@pytest.mark.parametrize("text", ["", "{}", '{"run": 3}', "\0" * 10, '{"run": "/x", "ports": ["a"], "network": ""}'])
def test_a_broken_file_is_ignored_and_cleared_away(text: str, tmp_path: Path) -> None:
    promises = PortPromises(tmp_path / "meeting")
    with promises.one_start():
        (tmp_path / "meeting" / "ports" / "x.json").write_text(text)
    assert promises.promised() == {}
    with promises.one_start():
        assert list((tmp_path / "meeting" / "ports").iterdir()) == []


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "meeting"
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match=r"PDPANEL_RUNTIME_DIR = .*is open to other users: its mode is 777"):
        claim_own_folder(folder)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="is a link and no folder"):
        claim_own_folder(link)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        claim_own_folder(tmp_path / "file")


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "meeting"
    folder.mkdir(mode=0o700)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match=f"belongs to another user, number {owner}"):
        claim_own_folder(folder)
    (folder / "ports").mkdir()
    with pytest.raises(ConfigError, match="belongs to another user"):
        PortPromises(folder).promised()


def test_all_starts_of_a_user_meet_in_one_folder(tmp_path: Path) -> None:
    """XDG_RUNTIME_DIR differs between a login and cron, and after `su` it is another user's."""
    here = read_config({"XDG_RUNTIME_DIR": "/elsewhere"}, state_dir=tmp_path / "one").runtime_dir
    assert here == read_config({}, state_dir=tmp_path / "two").runtime_dir
    assert here == PanelConfig(tmp_path, tmp_path, tmp_path).runtime_dir
    assert _runtime_dir({}, tmp_path) == tmp_path / "pdpanel"
    assert _runtime_dir({}, tmp_path / "none").name == f"pdpanel-{os.geteuid()}"
    assert read_config({"PDPANEL_RUNTIME_DIR": str(tmp_path)}).runtime_dir == tmp_path
