from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from pdpanel.panel.rundir import RunDir, new_run_id


def test_ids_carry_name_and_time_and_do_not_repeat() -> None:
    ids = {new_run_id("pd", 0.0) for _ in range(8)}
    assert len(ids) > 1
    assert all(run_id.startswith("pd-19700101-000000-") for run_id in ids)


def test_the_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path / "runs" / "a")
    rundir.create()
    for path in (rundir.path.parent, rundir.path, rundir.logs):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    rundir.write(rundir.state, b"x")
    assert stat.S_IMODE(rundir.state.stat().st_mode) == 0o600


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path)
    rundir.write(rundir.state, b"old")
    with rundir.state.open("rb") as reader:
        rundir.write(rundir.state, b"new and longer")
        assert reader.read() == b"old"
    assert rundir.state.read_bytes() == b"new and longer"
    assert os.listdir(tmp_path) == ["state.json"]


@pytest.mark.parametrize("depth", [0, 200])
def test_a_socket_can_be_bound_and_reached_however_long_the_path_is(tmp_path: Path, depth: int) -> None:
    rundir = RunDir(tmp_path / ("x" * depth) / "run")
    rundir.path.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        with rundir.socket_address() as address:
            server.bind(address)
        server.listen()
        with rundir.socket_address() as address:
            client.connect(address)
    assert (rundir.path / "runner.sock").exists()


def test_one_holder_of_the_lock_at_a_time(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path)
    held = rundir.try_lock()
    assert held is not None
    assert rundir.try_lock() is None
    os.close(held)
    again = rundir.try_lock()
    assert again is not None
    os.close(again)
