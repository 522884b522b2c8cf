"""The verbs of an exported script, in a real bash, on programs that stand in for engines."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fake_engine
import psutil
import pytest
from export_plans import deployment, plan_of, process
from pdpanel.panel.export.export import export_files
from pdpanel.panel.export.writing import write_folder
from pdpanel.panel.launch import LaunchPlan, PlannedFile, ProcessSpec, Request
from spare_ports import spare_port

pytestmark = pytest.mark.timeout(580)

# A busy machine takes its time; nothing here waits longer than it must.
PATIENCE_S = 120.0
ENGINE = (sys.executable, "-S", fake_engine.__file__)


def engine(name: str, *options: str, after: tuple[str, ...] = (), grace_s: float = 5.0, cwd: str = "") -> ProcessSpec:
    port = spare_port()
    return process(
        name,
        (*ENGINE, str(port), *options),
        ports={"http": port},
        url=f"http://127.0.0.1:{port}/health",
        after=after,
        grace_s=grace_s,
        cwd=cwd,
    )


def wait_for(look: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Exported:
    """A plan's scripts in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = dict(os.environ)

    def write(self, plan: LaunchPlan) -> None:
        write_folder(export_files(plan, deployment(), "sh"), self.folder, force=True)

    def call(self, *words: str, node: str = "pd", expect: int = 0) -> str:
        done = subprocess.run(
            [f"./{node}.sh", *words],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == expect, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        log = (self.folder / "spawned").open("wb")
        with log:
            return subprocess.Popen(["./pd.sh", *words], cwd=self.folder, env=self.environ, stdout=log, stderr=log)

    def pid(self, name: str) -> int:
        return int((self.folder / "pd" / "run" / f"{name}.pid").read_text().split()[0])


@pytest.fixture
def exported(tmp_path: Path) -> Iterator[Exported]:
    made = Exported(tmp_path / "out 'put'")
    yield made
    for script in made.folder.glob("*.sh"):
        subprocess.run([script, "stop"], capture_output=True, timeout=PATIENCE_S)


def test_a_life(exported: Exported) -> None:
    first, second = engine("prefill-0"), engine("router", after=("prefill-0",))
    url = second.ready.url
    exported.environ["CDPATH"] = "/"
    exported.write(plan_of(first, second, requests=(Request(("curl", "-X", "POST", url)),)))
    assert "prefill-0            stopped" in exported.call("status", expect=3)
    assert "router is ready" in exported.call("start")
    assert exported.call("status").count(" ready ") == 2
    again = exported.call("start")
    assert "prefill-0 runs already" in again and "started" not in again
    assert exported.call("test").startswith("ok\n")
    assert "3 requests, seconds: mean 0." in exported.call("bench", "3")
    assert "POST / HTTP" in exported.call("logs", "router") or "/health" in exported.call("logs", "router")
    exported.call("stop", "router")
    assert "router               stopped" in exported.call("status", expect=1)
    pid = exported.pid("prefill-0")
    assert "stopped prefill-0" in exported.call("stop")
    assert not lives(pid)
    assert "nothing runs" in exported.call("stop")
    assert not list((exported.folder / "pd" / "run").glob("*.pid"))


def test_a_process_that_ends_is_told_with_its_last_words_and_the_others_stop(exported: Exported) -> None:
    good = engine("prefill-0")
    bad = process("router", ("sh", "-c", "echo no such model >&2; exit 3"), url="http://127.0.0.1:9/health")
    exported.write(plan_of(good, bad))
    told = exported.call("start", expect=1)
    assert "no such model" in told and "router ended before it was ready" in told
    exported.call("status", expect=3)


def test_what_is_waited_for_on_another_node_is_named(exported: Exported) -> None:
    far = process("etcd", node="far", url="http://127.0.0.1:9/health", timeout_s=1)
    near = process("prefill-0", ("sleep", "600"), node="near", after=("etcd",))
    exported.write(plan_of(far, near, addresses={"far": "127.0.0.1", "near": "127.0.0.1"}))
    told = exported.call("start", node="near", expect=1)
    assert "waiting for etcd of far.sh at http://127.0.0.1:9/health" in told
    assert "etcd did not answer http://127.0.0.1:9/health within 1 s; was far.sh start called on its node?" in told


def test_a_taken_port_is_told_before_anything_starts(exported: Exported) -> None:
    spec = engine("prefill-0")
    with socket.create_server(("127.0.0.1", spec.ports["http"])):
        exported.write(plan_of(spec))
        told = exported.call("start", expect=1)
    assert f"port {spec.ports['http']} of prefill-0 is taken by another process" in told
    assert "started" not in told


def test_stop_kills_what_does_not_end_and_finds_what_left_the_session(exported: Exported) -> None:
    note = exported.folder.parent / "escaped"
    exported.write(plan_of(engine("prefill-0", "--stubborn", "--escaped", str(note), grace_s=1)))
    exported.call("start")
    pid, escaped = exported.pid("prefill-0"), int(note.read_text())
    assert lives(pid) and lives(escaped) and os.getsid(escaped) == escaped
    exported.call("stop")
    assert not lives(pid) and not lives(escaped)


def test_children_of_a_process_that_is_gone_are_stopped(exported: Exported) -> None:
    note = exported.folder.parent / "child"
    program = f"sleep 600 & echo $! > '{note}'; wait"
    exported.write(plan_of(process("prefill-0", ("sh", "-c", program))))
    exported.call("start")
    wait_for(lambda: note.exists() and note.read_text().strip())
    os.kill(exported.pid("prefill-0"), signal.SIGKILL)
    child = int(note.read_text())
    assert lives(child)
    wait_for(lambda: not lives(exported.pid("prefill-0")))
    assert "stopped prefill-0" in exported.call("stop")
    assert not lives(child)


def test_a_stranger_with_the_number_of_an_old_process_is_left_alone(exported: Exported) -> None:
    exported.write(plan_of(process("prefill-0", ("sleep", "600"))))
    exported.call("start")
    record = exported.folder / "pd" / "run" / "prefill-0.pid"
    _pid, ticks, boot, token = record.read_text().split()
    exported.call("stop")
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        record.write_text(f"{stranger.pid} {ticks} {boot} {token}\n")
        assert "stopped" in exported.call("status", expect=3)
        assert "nothing runs" in exported.call("stop")
        record.write_text(f"{stranger.pid} 1 another-boot {token}\n")
        exported.call("stop")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_in_the_foreground_stops_all(exported: Exported, sent: signal.Signals, code: int) -> None:
    exported.write(plan_of(engine("prefill-0"), engine("router")))
    script = exported.spawn("start", "--foreground")
    wait_for(lambda: b"router is ready" in (exported.folder / "spawned").read_bytes())
    pids = [exported.pid("prefill-0"), exported.pid("router")]
    script.send_signal(sent)
    assert script.wait(PATIENCE_S) == code
    assert not any(map(lives, pids))


def test_in_the_foreground_the_end_of_one_is_the_end_of_all(exported: Exported) -> None:
    exported.write(plan_of(engine("prefill-0"), engine("router")))
    script = exported.spawn("start", "--foreground")
    wait_for(lambda: b"router is ready" in (exported.folder / "spawned").read_bytes())
    other = exported.pid("router")
    os.kill(exported.pid("prefill-0"), signal.SIGKILL)
    assert script.wait(PATIENCE_S) == 1
    assert not lives(other)
    assert b"prefill-0 ended; see pd.sh logs prefill-0" in (exported.folder / "spawned").read_bytes()


def test_in_the_foreground_the_end_of_its_sleep_is_the_end_of_nothing(exported: Exported) -> None:
    exported.write(plan_of(engine("prefill-0")))
    script = exported.spawn("start", "--foreground")
    wait_for(lambda: b"prefill-0 is ready" in (exported.folder / "spawned").read_bytes())

    def killed() -> set[int]:
        for child in psutil.Process(script.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.name() == "sleep":
                    child.kill()
                    sleeps.add(child.pid)
        return sleeps

    sleeps: set[int] = set()
    wait_for(lambda: len(killed()) >= 2)
    assert script.poll() is None
    script.send_signal(signal.SIGTERM)
    assert script.wait(PATIENCE_S) == 143


def test_a_stop_ends_a_start_that_still_waits(exported: Exported) -> None:
    exported.write(plan_of(process("prefill-0", ("sleep", "600"), url="http://127.0.0.1:9/never", timeout_s=500)))
    script = exported.spawn("start")
    wait_for(lambda: b"waiting for prefill-0" in (exported.folder / "spawned").read_bytes())
    pid = exported.pid("prefill-0")
    assert "another start or stop is at work" in exported.call("start", expect=1)
    exported.call("stop")
    assert script.wait(PATIENCE_S) == 143
    assert not lives(pid)


def test_an_answer_that_is_an_error_fails_the_test(exported: Exported) -> None:
    spec = engine("router", "--status", "500")
    spec = process("router", spec.argv, ports=spec.ports)
    request = Request(("curl", "-X", "POST", f"http://127.0.0.1:{spec.ports['http']}/generate"))
    exported.write(plan_of(spec, requests=(request,)))
    exported.call("start")
    wait_for(lambda: is_open(spec.ports["http"]))
    assert "the answer has status 500" in exported.call("test", expect=1)


def test_config_files_lie_where_a_process_starts(exported: Exported, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    files = (PlannedFile("conf/mooncake.json", "{}\n", shared=True),)
    here = process("prefill-0", ("sh", "-c", "cat conf/mooncake.json; exec sleep 600"))
    there = process("decode-0", ("sh", "-c", "cat conf/mooncake.json; exec sleep 600"), cwd=str(own))
    exported.write(plan_of(here, there, files=files))
    exported.call("start")
    wait_for(lambda: exported.call("logs", "prefill-0").strip() == exported.call("logs", "decode-0").strip() == "{}")
    exported.call("stop")
    (own / "conf" / "mooncake.json").write_text("mine")
    assert "differs from" in exported.call("start", expect=1)
    assert (own / "conf" / "mooncake.json").read_text() == "mine"
    (exported.folder / "pd" / "conf" / "mooncake.json").unlink()
    assert "conf/mooncake.json is missing; copy the whole folder pd" in exported.call("start", expect=1)


def test_without_curl_bash_itself_asks(exported: Exported, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    names = "bash cat dirname mkdir flock setsid env sleep grep rm timeout tail kill date sh cmp".split()
    for folder in ("/usr/bin", "/bin"):
        for name in names:
            if (Path(folder) / name).exists() and not (tools / name).exists():
                (tools / name).symlink_to(Path(folder) / name)
    exported.environ["PATH"] = str(tools)
    good, bad = engine("prefill-0"), engine("router", "--status", "503")
    exported.write(plan_of(good))
    assert "prefill-0 is ready" in exported.call("start")
    exported.call("stop")
    exported.write(plan_of(process("router", bad.argv, ports=bad.ports, url=bad.ready.url, timeout_s=1)))
    assert "did not answer" in exported.call("start", expect=1)


def test_hostile_names_of_processes_and_folders(exported: Exported, tmp_path: Path) -> None:
    place = tmp_path / "-a $(x) 'b' \u00e4"
    place.mkdir()
    name = "-p $(touch x) 'q'\")"
    exported.write(plan_of(process(name, ("sh", "-c", "pwd; exec sleep 600"), cwd=str(place))))
    assert name in exported.call("start")
    wait_for(lambda: str(place) in exported.call("logs"))
    exported.call("status", name)
    exported.call("stop", name)


@pytest.mark.parametrize("words", [(), ("fly",), ("start", "decode-7"), ("status", "x")])
def test_wrong_words_get_an_explanation(exported: Exported, words: tuple[str, ...]) -> None:
    exported.write(plan_of(process("prefill-0")))
    assert "processes" in exported.call(*words, expect=2)


def test_a_container_is_removed_when_its_client_was_killed(exported: Exported, tmp_path: Path) -> None:
    """The client that `docker run` leaves in front of a container can die without it."""
    programs, removed = tmp_path / "bin", tmp_path / "removed"
    programs.mkdir()
    (programs / "docker").write_text(
        f'#!/bin/sh\nif [ "$1" = rm ]; then echo "$*" >> \'{removed}\'; else sleep 600; fi\n'
    )
    (programs / "docker").chmod(0o755)
    exported.environ["PATH"] = f"{programs}:{exported.environ['PATH']}"
    exported.write(
        plan_of(process("prefill-0", ("docker", "run", "--rm", "--name", "pd-prefill-0", "image", "engine")))
    )
    exported.call("start")
    os.kill(exported.pid("prefill-0"), signal.SIGKILL)
    exported.call("stop")
    assert removed.read_text() == "rm --force pd-prefill-0\n"
    assert "nothing runs" in exported.call("stop")


@pytest.mark.parametrize(("address", "free"), [("127.0.0.2", True), ("127.0.0.1", False), ("0.0.0.0", False)])
def test_nodes_at_addresses_of_one_machine_use_the_same_ports(exported: Exported, address: str, free: bool) -> None:
    """The port of 127.0.0.1 is in nobody's way at 127.0.0.2, and that of all addresses is."""
    spec = replace(engine("prefill-0", "--host", "127.0.0.1"), node="a")
    exported.write(plan_of(spec, process("far", node="b"), addresses={"a": "127.0.0.1", "b": "127.0.0.2"}))
    with socket.create_server((address, spec.ports["http"])):
        told = exported.call("start", node="a", expect=0 if free else 1)
        assert (f"port {spec.ports['http']} of prefill-0 is taken by another process" in told) != free
        exported.call("stop", node="a")
