from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError, ConflictError, NotFoundError
from pdpanel.panel.load.jobdir import JobDir
from pdpanel.panel.load.jobs import ACTIVE, Loads
from pdpanel.panel.load.spec import LoadSpec
from pretended_server import PretendedServer

LIMIT_S = 60.0


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def ended(loads: Loads, load: str) -> dict[str, Any]:
    return until(lambda: entry if (entry := loads.get(load))["state"] not in ACTIVE else None)


def measuring(loads: Loads, load: str) -> dict[str, Any]:
    return until(lambda: entry if len((entry := loads.get(load))["rows"]) > 1 else None)


def spec(server: PretendedServer, requests: int = 6) -> LoadSpec:
    return LoadSpec(url=server.url, requests=requests, concurrency=2, input="8", output="5")


def test_a_load_runs_in_a_process_of_its_own_and_its_result_is_kept(tmp_path: Path) -> None:
    loads = Loads(tmp_path / "loads")
    with PretendedServer(key="s3cret") as server:
        load = loads.start(spec(server), labels={"run": "r-1", "mode": "1P1D", "transport": "tcp"}, api_key="s3cret")
        entry = ended(loads, load)
    assert (entry["state"], entry["run"], entry["mode"]) == ("finished", "r-1", "1P1D")
    assert entry["columns"]["requests_successful"] == 6
    assert entry["name"] == "1P1D, tcp: concurrency 2, 8/5"
    until(lambda: not os.listdir(tmp_path / "loads" / "jobs"))
    assert Loads(tmp_path / "loads").get(load) == entry
    assert all("s3cret" not in path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    (listed,) = loads.list()
    assert listed["id"] == load
    assert "rows" not in listed
    loads.remove(load)
    assert loads.list() == []
    with pytest.raises(NotFoundError):
        loads.get(load)


def test_a_stop_keeps_what_was_measured(tmp_path: Path) -> None:
    loads = Loads(tmp_path)
    with PretendedServer(gap_s=0.001) as server:
        load = loads.start(spec(server, 1_000_000))
        measuring(loads, load)
        with pytest.raises(ConflictError, match="goes on; stop it first"):
            loads.remove(load)
        loads.stop(load)
        entry = ended(loads, load)
        loads.stop(load)
    assert entry["state"] == "stopped"
    assert entry["columns"]["requests_successful"] > 0
    assert len(entry["rows"]) > 1


def test_a_process_that_was_killed_is_said_to_have_ended_unexpectedly(tmp_path: Path) -> None:
    loads = Loads(tmp_path)
    with PretendedServer(gap_s=0.001) as server:
        load = loads.start(spec(server, 1_000_000))
        measuring(loads, load)
        process = JobDir(tmp_path / "jobs" / load).process()
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        entry = ended(loads, load)
    assert entry["state"] == "died"
    assert "ended without a result" in entry["notes"][0]
    assert len(entry["rows"]) > 1
    loads.remove(load)
    assert loads.list() == []


def test_a_killed_panel_leaves_the_load_and_the_next_one_sees_it(tmp_path: Path) -> None:
    panel = (
        "import sys, time\nfrom pathlib import Path\nfrom pdpanel.panel.load.jobs import Loads\n"
        "from pdpanel.panel.load.spec import LoadSpec\n"
        "spec = LoadSpec(url=sys.argv[2], requests=1_000_000, concurrency=2, input='8', output='5')\n"
        "print(Loads(Path(sys.argv[1])).start(spec), flush=True)\ntime.sleep(600)\n"
    )
    with PretendedServer(gap_s=0.001) as server:
        process = subprocess.Popen([sys.executable, "-c", panel, str(tmp_path), server.url], stdout=subprocess.PIPE)
        assert process.stdout is not None
        load = process.stdout.readline().decode().strip()
        process.kill()
        process.wait()
        process.stdout.close()
        loads = Loads(tmp_path)
        assert [entry["state"] for entry in loads.list()] in (["starting"], ["running"])
        before = len(measuring(loads, load)["rows"])
        until(lambda: len(loads.get(load)["rows"]) > before)
        loads.stop(load)
        assert ended(loads, load)["state"] == "stopped"


def _job(folder: Path, **process: object) -> str:
    """A job's directory as a process leaves it that is no more."""
    load = "load-20260101-000000-abcd"
    spec = {"url": "http://127.0.0.1:9", "input": "8", "output": "5"}
    job = {"id": load, "kind": "load", "name": "n", "created_at": 1.0, "labels": {}, "spec": spec}
    jobdir = JobDir(folder / "jobs" / load)
    jobdir.create(job)
    jobdir.tell([1, 2])
    with (jobdir.path / "rows.jsonl").open("a") as file:
        file.write("[1, 2")  # Half a line, as a full disk or a kill leaves it.
    if process:
        (jobdir.path / "process.json").write_text(json.dumps(process))
    return load


def test_a_pid_alone_is_nobody(tmp_path: Path) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    load = _job(tmp_path, pid=os.getpid(), start_ticks=1, boot_id=boot)
    entry = Loads(tmp_path).get(load)
    assert (entry["state"], entry["rows"]) == ("died", [[1, 2]])


def test_after_a_reboot_it_is_said_to_have_ended_by_it(tmp_path: Path) -> None:
    load = _job(tmp_path, pid=os.getpid(), start_ticks=1, boot_id="another")
    assert "host was restarted" in Loads(tmp_path).get(load)["notes"][0]


def test_a_process_that_never_came_is_said_so(tmp_path: Path) -> None:
    load = _job(tmp_path)
    loads = Loads(tmp_path)
    assert loads.get(load)["state"] == "died"
    loads.stop(load)
    loads.remove(load)


def test_files_that_are_no_results_do_no_harm(tmp_path: Path) -> None:
    load = "load-20260101-000000-abcd"
    (tmp_path / f"{load}.json").write_bytes(b"\x00{")
    (tmp_path / "load-20260101-000001-abcd.json").write_text(
        json.dumps({"id": "load-20260101-000001-abcd", "columns": {}, "version": 99})
    )
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "x").write_text("")
    loads = Loads(tmp_path)
    assert {entry["state"] for entry in loads.list()} == {"unreadable"}
    assert "cannot be read" in loads.get(load)["notes"][0]
    assert "newer version" in loads.get("load-20260101-000001-abcd")["notes"][0]


@pytest.mark.parametrize("load", ["", "../x", "load-1", "load-20260101-000000-abcd/..", "x" * 999])
def test_what_is_no_id_never_becomes_a_path(tmp_path: Path, load: str) -> None:
    for call in (Loads(tmp_path).get, Loads(tmp_path).stop, Loads(tmp_path).remove):
        with pytest.raises(NotFoundError):
            call(load)


def test_a_wrong_spec_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Loads(tmp_path).start(LoadSpec(url="foo"))
    assert list(tmp_path.iterdir()) == []
