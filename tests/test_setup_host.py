"""The set-up's decisions, its refusals in words, and the run that finds nothing to do."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


choices = _load("setup_choices")
setup_host = _load("setup_host")
Machine = choices.Machine


@pytest.mark.parametrize(
    ("machine", "package", "why"),
    [
        (Machine(), "mooncake-transfer-engine-non-cuda", "no GPU driver"),
        (Machine(nvidia=True, cuda_major=12), "mooncake-transfer-engine", "CUDA 12"),
        (Machine(nvidia=True, cuda_major=13), "mooncake-transfer-engine-cuda13", "CUDA 13"),
        (Machine(nvidia=True, cuda_major=14), "mooncake-transfer-engine-cuda13", "CUDA 14"),
        (Machine(nvidia=True, cuda_major=11), "mooncake-transfer-engine-non-cuda", "speaks CUDA 11"),
        (Machine(nvidia=True), "mooncake-transfer-engine-non-cuda", "unknown CUDA"),
        (Machine(rocm=True), "mooncake-transfer-engine-rocm", "AMD"),
        (Machine(npu=True), "mooncake-transfer-engine-npu", "Ascend"),
        (Machine(system="Darwin"), "", "no build for Darwin"),
    ],
)
def test_the_mooncake_build_follows_the_driver(machine: object, package: str, why: str) -> None:
    choice = choices.choose_mooncake(machine)
    assert choice.package == package
    assert why in choice.why


@pytest.mark.parametrize("installed", ["2.6.0", "2.13.0+cpu", "2.15.1+cu128", "10.0"])
@pytest.mark.parametrize("machine", [Machine(), Machine(nvidia=True, cuda_major=12), Machine(rocm=True)])
def test_a_fitting_torch_is_kept(machine: object, installed: str) -> None:
    assert choices.choose_torch(machine, installed).package == ""


@pytest.mark.parametrize("installed", [None, "", "2.5.1+cpu", "1.13.0"])
@pytest.mark.parametrize(
    ("machine", "package"),
    [
        (Machine(), "torch==2.13.0+cpu"),
        (Machine(nvidia=True, cuda_major=12), "torch==2.13.0"),
        (Machine(nvidia=True, cuda_major=13), "torch==2.13.0"),
        (Machine(nvidia=True), "torch==2.13.0+cpu"),
        (Machine(rocm=True), "torch==2.13.0+cpu"),
        (Machine(npu=True), "torch==2.13.0+cpu"),
        (Machine(system="Darwin"), "torch==2.13.0"),
    ],
)
def test_no_driver_gets_the_cpu_build(machine: object, package: str, installed: str | None) -> None:
    assert choices.choose_torch(machine, installed).package == package


def _report(version: str, url: str) -> str:
    return json.dumps({"install": [{"metadata": {"version": version}, "download_info": {"url": url}}]})


@pytest.mark.parametrize(
    ("version", "url"),
    [
        ("2.13.0+cpu", "file:///wheels/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl"),
        ("2.13.0+cpu", "https://mirror.example/torch-2.13.0%2Bcpu-cp311-cp311-linux_x86_64.whl"),
        ("2.13.0", "file:///wheels/torch-2.13.0-cp311-cp311-linux_x86_64.whl"),
    ],
)
def test_an_index_with_the_cpu_build_is_used_as_it_is(version: str, url: str) -> None:
    assert choices.cpu_torch(_report(version, url)) == ["torch==2.13.0"]


@pytest.mark.parametrize(
    "report",
    [
        _report("2.13.0", "https://files.example/torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl"),
        '{"install": []}',
        '{"install": [{}]}',
        "[]",
        "null",
        "",
        "not JSON",
    ],
)
def test_any_other_index_is_passed_over_for_the_cpu_builds_own(report: str) -> None:
    first, *rest = choices.cpu_torch(report)
    assert first == "torch==2.13.0+cpu"
    assert rest == ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_report_breaks_the_choice(report: object) -> None:
    assert choices.cpu_torch(json.dumps(report))[0] == "torch==2.13.0+cpu"


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", "apt-get install -y --no-install-recommends libibverbs1 etcd-server"),
        ("dnf", "dnf install -y libibverbs etcd"),
        ("zypper", "zypper --non-interactive install libibverbs1 etcd"),
        ("pacman", "pacman -S --noconfirm --needed rdma-core etcd"),
        ("", ""),
        ("brew", ""),
    ],
)
def test_one_command_installs_what_is_missing(manager: str, command: str) -> None:
    assert " ".join(choices.package_command(manager, ["ibverbs", "etcd"])) == command


def test_an_older_release_has_etcd_under_its_old_name() -> None:
    command = choices.package_command("apt-get", ["etcd", "numa"], frozenset({"etcd-server"}))
    assert command[-2:] == ["etcd", "libnuma1"]


def test_a_manager_without_a_name_gives_no_command() -> None:
    assert choices.package_command("dnf", ["venv"]) == []


def test_one_thing_may_be_several_packages() -> None:
    assert choices.package_command("apt-get", ["slurm"])[-4:] == ["slurmctld", "slurmd", "slurm-client", "munge"]


@pytest.mark.parametrize(("manager", "asked"), [("apt-get", True), ("pacman", False), ("", False)])
def test_what_tests_can_skip_is_asked_for_where_it_can_be_had(
    monkeypatch: pytest.MonkeyPatch, manager: str, asked: bool
) -> None:
    monkeypatch.setattr(setup_host.shutil, "which", lambda name: "/x" if name in {manager, "chromium"} else None)
    missing = setup_host.missing_packages(True)
    assert ("slurm" in missing) is asked
    assert "etcd" in missing, "it is needed in any case"


def test_every_missing_thing_has_a_name() -> None:
    assert {*choices.LIBRARIES, *choices.PROGRAMS, "venv"} == set(choices.NAMES)
    assert {len(names) for names in choices.NAMES.values()} == {len(choices.INSTALL)}


@pytest.mark.parametrize(
    "output",
    [
        "WARNING: Failed to establish a new connection: [Errno 101]\nERROR: No matching distribution found",
        "[Errno -3] Temporary failure in name resolution",
        "E: Failed to fetch http://x  Temporary failure resolving 'deb.example'",
        "ReadTimeoutError: Read timed out.",
    ],
)
def test_no_network_is_one_sentence(output: str) -> None:
    sentence = choices.failure("Installing torch", output)
    assert sentence.startswith("Installing torch needs a package index and none could be reached: connect")
    assert "\n" not in sentence


def test_any_other_failure_ends_with_the_last_error() -> None:
    output = "note\nERROR: first\nERROR: No matching distribution found for x\nhint\n"
    assert choices.failure("Installing x", output).endswith("was: No matching distribution found for x")
    nested = (
        "  error: subprocess-exited-with-error\n  x\n      error: no such folder\nerror: subprocess-exited-with-error\n"
    )
    assert choices.failure("Installing x", nested).endswith("was: no such folder")
    assert choices.failure("Installing x", "").endswith("was: nothing")
    assert len(choices.failure("Installing x", "y" * 9999)) < 400


def _fake(folder: Path, name: str, script: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_python_that_fits_is_taken() -> None:
    assert setup_host.find_python(sys.executable) == sys.executable


@pytest.mark.parametrize("version", ["3 10", "3 14", "2 7", "x"])
def test_a_python_that_does_not_fit_is_named(tmp_path: Path, version: str) -> None:
    python = _fake(tmp_path, "python", f"echo {version}")
    with pytest.raises(setup_host.SetupError, match=r"python is not a Python 3\.11, 3\.12, 3\.13: name one"):
        setup_host.find_python(python)


def test_no_python_that_fits_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_host, "_run", lambda command: subprocess.CompletedProcess(command, 127, stdout=""))
    with pytest.raises(setup_host.SetupError, match=r"^No Python 3\.11, 3\.12, 3\.13 is installed: install one"):
        setup_host.find_python("")


def test_a_python_that_cannot_make_a_venv_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = _fake(tmp_path, "python", "echo 3 12; echo No module named ensurepip; exit 1")
    asked: list[list[str]] = []
    monkeypatch.setattr(setup_host, "install_packages", asked.append)
    with pytest.raises(setup_host.SetupError, match="python3-venv"):
        setup_host.find_python(python)
    assert asked == [["venv"]]


def test_without_root_the_one_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(setup_host.shutil, "which", lambda name: "/x" if name == "apt-get" else None)
    monkeypatch.setattr(setup_host, "_run", lambda command: subprocess.CompletedProcess(command, 1, stdout=""))
    with pytest.raises(setup_host.SetupError) as caught:
        setup_host.install_packages(["ibverbs", "chromium"])
    assert str(caught.value) == (
        "This system lacks libibverbs.so.1, chromium: run `sudo apt-get update && "
        "sudo apt-get install -y --no-install-recommends libibverbs1 chromium`."
    )


def test_an_unknown_system_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_host.shutil, "which", lambda _: None)
    with pytest.raises(setup_host.SetupError, match=r"^This system lacks libnuma\.so\.1: install them"):
        setup_host.install_packages(["numa"])


def test_mooncake_is_needed_by_tests_and_not_by_the_panel(capsys: pytest.CaptureFixture[str]) -> None:
    def step() -> None:
        raise setup_host.SetupError("It is not to be had.")

    assert setup_host._needed_by_tests(False, step) is False
    assert "warning: It is not to be had. Until then workers use the tcp transport." in capsys.readouterr().out
    with pytest.raises(setup_host.SetupError):
        setup_host._needed_by_tests(True, step)


def test_what_tests_can_skip_stops_nothing_when_it_cannot_be_installed(
    steps: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def install(missing: list[str]) -> None:
        asked.append(missing)
        if "slurm" in missing:
            raise setup_host.SetupError("This system lacks slurm.")

    monkeypatch.setattr(setup_host, "missing_packages", lambda _: ["ibverbs", "slurm", "nft"])
    monkeypatch.setattr(setup_host, "install_packages", install)
    assert setup_host.main(["--tests"]) == 0
    assert asked == [["ibverbs"], ["slurm", "nft"]]
    assert "install_project" in steps
    assert "This system lacks slurm. Until then the tests that need it are skipped." in capsys.readouterr().out


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the set-up takes for its own."""
    for name in ("pyproject.toml", "setup_host.py", "setup_choices.py"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(setup_host, "ROOT", tmp_path)
    monkeypatch.setattr(setup_host, "VENV", tmp_path / ".venv")
    return tmp_path


def test_the_stamp_covers_all_that_the_set_up_depends_on(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key() -> str:
        return setup_host.stamp_key(Machine(), "3.11.7")

    keys = [
        key(),
        setup_host.stamp_key(Machine(rocm=True), "3.11.7"),
        setup_host.stamp_key(Machine(), "3.12.1"),
    ]
    assert key() == keys[0]
    (checkout / "pyproject.toml").write_text("another")
    keys.append(key())
    moved = checkout / "moved"
    moved.mkdir()
    for name in ("pyproject.toml", "setup_host.py", "setup_choices.py"):
        (moved / name).write_text(name)
    monkeypatch.setattr(setup_host, "ROOT", moved)
    keys.append(key())
    assert all(one != other for one, other in itertools.combinations(keys, 2))


@pytest.mark.parametrize(
    ("stamp", "run", "tests"),
    [
        ('{"key": "k", "tests": true}', True, True),
        ('{"key": "k", "tests": false}', True, False),
        ('{"key": "other", "tests": true}', False, False),
        ("{}", False, False),
        ("[]", False, False),
        ("half", False, False),
    ],
)
def test_a_stamp_counts_for_its_key_and_what_it_brought(checkout: Path, stamp: str, run: bool, tests: bool) -> None:
    assert setup_host.up_to_date("k", False) is False
    (checkout / ".venv" / "pdpanel-setup.json").write_text(stamp)
    assert setup_host.up_to_date("k", False) is run
    assert setup_host.up_to_date("k", True) is tests


def test_a_venv_whose_python_is_gone_has_no_version(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir()
    (checkout / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.12.1\n")
    assert setup_host.venv_version() == ""
    (checkout / ".venv" / "bin" / "python").symlink_to("/nowhere/python")
    assert setup_host.venv_version() == ""
    (checkout / ".venv" / "bin" / "python").unlink()
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert setup_host.venv_version() == "3.12.1"


@pytest.fixture
def steps(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the steps that were done, none of them for real."""
    done: list[str] = []

    def step(name: str) -> Callable[..., None]:
        return lambda *_: done.append(name)

    for name in ("install_packages", "make_venv", "install_torch", "install_project", "install_mooncake"):
        monkeypatch.setattr(setup_host, name, step(name))
    monkeypatch.setattr(setup_host, "missing_packages", lambda _: [])
    monkeypatch.setattr(setup_host, "probe_machine", Machine)
    return done


def test_the_second_run_does_nothing(steps: list[str]) -> None:
    all_steps = ["make_venv", "install_torch", "install_project", "install_mooncake"]
    assert setup_host.main([]) == 0
    assert steps == all_steps
    assert setup_host.main([]) == 0
    assert steps == all_steps
    assert setup_host.main(["--tests"]) == 0, "the first run did not bring what tests need"
    assert steps == all_steps * 2
    assert setup_host.main(["--tests"]) == setup_host.main([]) == 0
    assert steps == all_steps * 2


def test_a_run_without_mooncake_goes_on_and_tries_again_next_time(
    steps: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> None:
        raise setup_host.SetupError("No build fits.")

    monkeypatch.setattr(setup_host, "install_mooncake", refuse)
    assert setup_host.main([]) == setup_host.main([]) == 0
    assert steps == ["make_venv", "install_torch", "install_project"] * 2
    assert setup_host.main(["--tests"]) == 1
    assert capsys.readouterr().err == "setup: error: No build fits.\n"


def test_ctrl_c_leaves_without_a_traceback(
    steps: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(setup_host, "install_torch", interrupt)
    assert setup_host.main([]) == 130
    assert capsys.readouterr().err == "setup: interrupted; run it again to go on.\n"


def test_this_checkout_is_set_up_and_a_second_run_is_silent() -> None:
    key = setup_host.stamp_key(setup_host.probe_machine(), setup_host.venv_version())
    if not setup_host.up_to_date(key, False):
        pytest.skip("this checkout has no .venv of `make setup`, or one of an earlier pyproject.toml")
    command = [sys.executable, str(ROOT / "setup_host.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
