"""The fakes stand at the boundary of pyverbs: modules of its API that a child process really imports."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from pdpanel.nic_probe.nics.verbs import VerbsDevice, VerbsPort, VerbsQuestion, find_pyverbs
from pdpanel.nic_probe.nics.verbs_child import main

HEALTHY = """
class _Device:
    def __init__(self, name):
        self.name = name

class _Port:
    gid_tbl_len = 255
    def __init__(self, number):
        self.active_mtu = {1: 3, 2: 5}[number]

class Context:
    def __init__(self, name):
        self.name = name
    def query_port(self, number):
        return _Port(number)
    def close(self):
        pass

def get_device_list():
    return [_Device(name) for name in (b"mlx5_0", "mlx5_1", "mlx5_2")]
"""

Install = Callable[[str], tuple[str, ...]]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Writes a fake pyverbs whose module `device` has this text, and returns the folders to find it in."""

    def write(text: str) -> tuple[str, ...]:
        package = tmp_path / "fake" / "pyverbs"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "device.py").write_text(text)
        return (*sys.path, str(package.parent))

    return write


def _ask(
    folders: tuple[str, ...], devices: Mapping[str, int], environ: Mapping[str, str] | None = None, limit_s: float = 30
) -> tuple[dict[str, VerbsDevice], str]:
    question = VerbsQuestion(devices, environ or {}, folders)
    return question.answers(limit_s), question.problem


def test_ports_of_two_devices(install: Install) -> None:
    found, problem = _ask(install(HEALTHY), {"mlx5_0": 1, "mlx5_1": 2})
    assert problem == ""
    assert found["mlx5_0"] == VerbsDevice(True, "", {1: VerbsPort(1024, 255)})
    assert found["mlx5_1"].ports[2].active_mtu == 4096


def test_a_device_that_only_the_kernel_knows(install: Install) -> None:
    found, problem = _ask(install(HEALTHY), {"mlx5_0": 1, "bnxt_re0": 1})
    assert (found["bnxt_re0"], problem) == (VerbsDevice(False, ""), "")
    assert found["mlx5_0"].listed


def test_a_device_that_cannot_be_opened_hides_no_other(install: Install) -> None:
    refuse = "        if name == 'mlx5_0': raise OSError('Failed to open\\ndevice')\n        self.name = name\n"
    found, problem = _ask(install(HEALTHY.replace("        self.name = name\n    def q", f"{refuse}    def q")), _BOTH)
    assert (found["mlx5_0"].error, found["mlx5_0"].ports, problem) == ("Failed to open device", {}, "")
    assert found["mlx5_1"].error == ""


def test_a_port_that_cannot_be_asked_leaves_those_before_it(install: Install) -> None:
    found, _ = _ask(install(HEALTHY), {"mlx5_0": 3})
    assert (list(found["mlx5_0"].ports), found["mlx5_0"].error) == ([1, 2], "3")


@pytest.mark.parametrize("number", ["0", "9", "-1"])
def test_a_number_that_stands_for_no_mtu(install: Install, number: str) -> None:
    found, _ = _ask(install(HEALTHY.replace("{1: 3, 2: 5}[number]", number)), {"mlx5_0": 1})
    assert found["mlx5_0"].ports[1] == VerbsPort(None, 255)


_BOTH = {"mlx5_0": 1, "mlx5_1": 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "raise ImportError('libibverbs.so.1: cannot open shared object file')",
            "pyverbs says: libibverbs.so.1: cannot",
        ),
        ("def get_device_list(): raise KeyError", "pyverbs says: KeyError"),
        ("x = (", "pyverbs says: "),
        ("import os; os.abort()", "pyverbs ended without an answer"),
        ("import os; print('[1] {', 7); os._exit(0)", "pyverbs ended without an answer"),
        ("raise SystemExit(3)", "pyverbs ended without an answer"),
    ],
)
def test_a_pyverbs_that_is_broken_is_a_reason(install: Install, text: str, problem: str) -> None:
    found, reason = _ask(install(text), _BOTH)
    assert found == {}
    assert reason.startswith(problem)


def test_a_driver_that_hangs_is_left_behind(install: Install, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "driver")
    # Reading a pipe into which nobody writes waits for ever, with the interpreter's lock or without.
    hang = f"        if self.name == 'mlx5_1': open({str(tmp_path / 'driver')!r}).read()\n        return _Port(number)"
    folders = install(HEALTHY.replace("        return _Port(number)", hang))
    question = VerbsQuestion({"mlx5_0": 1, "mlx5_1": 1, "mlx5_2": 1}, {}, folders)
    # Returns once the child is at the second device.
    with open(tmp_path / "driver", "w"):
        found = question.answers(0.1)
    assert (list(found), question.problem) == (["mlx5_0"], "libibverbs did not answer within 0.1 s")


@pytest.mark.parametrize(
    ("devices", "folders", "problem"), [(_BOTH, (), "pyverbs is not installed"), ({}, ("/nowhere",), "")]
)
def test_nobody_is_asked_for_nothing(devices: dict[str, int], folders: tuple[str, ...], problem: str) -> None:
    assert _ask(folders, devices) == ({}, problem)


def test_a_child_that_cannot_be_started_is_a_reason(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    found, problem = _ask(install(HEALTHY), _BOTH)
    assert found == {}
    assert problem.startswith("pyverbs could not be started: ")


def test_libraries_are_looked_for_in_the_given_environment(install: Install) -> None:
    text = "import os; raise ImportError(os.environ.get('LD_LIBRARY_PATH', 'none') + os.environ.get('HOME', ''))"
    assert _ask(install(text), _BOTH, {"LD_LIBRARY_PATH": "/opt/ofed"})[1] == "pyverbs says: /opt/ofed"


def test_pyverbs_is_found_where_python_looks(
    install: Install, monkeypatch: pytest.MonkeyPatch, path_restored: None
) -> None:
    folders = install(HEALTHY)
    monkeypatch.syspath_prepend(folders[-1])
    assert folders[-1] in find_pyverbs()
    assert "pyverbs" not in sys.modules


@pytest.fixture
def path_restored() -> Iterator[None]:
    """Keeps sys.path as it is for the tests after."""
    before = list(sys.path)
    yield
    sys.path[:] = before


def test_the_child_prints_one_line_for_each_device(
    install: Install, capsys: pytest.CaptureFixture[str], path_restored: None
) -> None:
    folders = install(HEALTHY)
    try:
        main(json.dumps({"path": list(folders), "devices": {"mlx5_0": 1, "other": 1}}))
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pyverbs"]:
            del sys.modules[name]
    first, *lines = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"error": ""}
    assert [json.loads(line) for line in lines] == [
        {"device": "mlx5_0", "listed": True, "error": "", "ports": {"1": {"active_mtu": 3, "gid_tbl_len": 255}}},
        {"device": "other", "listed": False, "error": "", "ports": {}},
    ]
