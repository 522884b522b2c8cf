"""Sets this checkout up on this machine: distribution packages, `.venv`, and the torch and Mooncake that fit.

Called by the Makefile, and good for nothing else. Standard library alone, and readable by any Python from
3.8 on, so that it can say in one sentence that the Python at hand is too old. Every step says in one line
what it does and why; a second run finds the stamp of the first and does nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from setup_choices import (
    INSTALL,
    LIBRARIES,
    MOONCAKE,
    MOONCAKE_VERSION,
    OPTIONAL,
    PROGRAMS,
    PYTHONS,
    TORCH,
    Machine,
    choose_mooncake,
    choose_torch,
    cpu_torch,
    failure,
    last_line,
    package_command,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PACKAGES = ("engine", "nic_probe", "panel", "presets")


class SetupError(Exception):
    """Raised when the set-up cannot go on; its text is one sentence with the remedy."""


def probe_machine() -> Machine:
    """Returns what this machine has."""
    nvidia = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    return Machine(
        system=platform.system(),
        nvidia=nvidia,
        cuda_major=_cuda_major() if nvidia else None,
        rocm=Path("/dev/kfd").exists(),
        npu=any(Path("/dev").glob("davinci[0-9]*")),
    )


def _cuda_major() -> int | None:
    version = ctypes.c_int(0)
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        # A container may show the driver's files without its libraries; then no build can use it.
        return None
    return version.value // 1000 or None


def missing_packages(tests: bool) -> list[str]:
    """Returns what the distribution has to bring, as keys of NAMES."""
    missing = [key for key, library in LIBRARIES.items() if not _loads(library)]
    if tests:
        missing += [key for key, names in PROGRAMS.items() if not any(shutil.which(name) for name in names)]
    manager = _package_manager()
    return [key for key in missing if key not in OPTIONAL or package_command(manager, [key])]


def _package_manager() -> str:
    return next((name for name in INSTALL if shutil.which(name)), "")


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def say(text: str) -> None:
    """Prints one line at once, also into a pipe."""
    print(f"setup: {text}", flush=True)


def install_packages(missing: list[str]) -> None:
    """Installs distribution packages.

    Raises:
        SetupError: it cannot be done from here; the sentence holds the one command that does it.
    """
    things = ", ".join(LIBRARIES.get(key) or key for key in missing)
    manager = _package_manager()
    command = package_command(manager, missing)
    if not command:
        raise SetupError(f"This system lacks {things}: install them with its package manager.")
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if as_root and _run([*as_root, "true"]).returncode:
        refresh = "sudo apt-get update && " if manager == "apt-get" else ""
        raise SetupError(f"This system lacks {things}: run `{refresh}sudo {' '.join(command)}`.")
    say(f"`{' '.join(command)}`, for {things}")
    if manager == "apt-get":
        as_root += ["env", "DEBIAN_FRONTEND=noninteractive"]
        _run([*as_root, "apt-get", "update"])
        unknown = frozenset({"etcd-server"} if _run(["apt-cache", "show", "etcd-server"]).returncode else ())
        command = package_command(manager, missing, unknown)
    done = _run([*as_root, *command])
    if done.returncode:
        raise SetupError(failure(f"`{' '.join(command)}`, for {things},", done.stdout))


def find_python(asked: str) -> str:
    """Returns a Python of a version that fits and that can make a venv; `asked` names the only candidate.

    Raises:
        SetupError: there is none.
    """
    spoken = ", ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    candidates = (
        [asked]
        if asked
        else [
            getattr(sys, "_base_executable", sys.executable),
            "python3.12",
            "python3.13",
            "python3.11",
            "python3",
        ]
    )
    probe = "import sys; print(*sys.version_info[:2]); import ensurepip, venv, ctypes"
    without_venv = ""
    for candidate in candidates:
        done = _run([candidate, "-c", probe])
        numbers = re.findall(r"^(\d+) (\d+)$", done.stdout, re.MULTILINE)
        if not numbers or (int(numbers[0][0]), int(numbers[0][1])) not in PYTHONS:
            continue
        if done.returncode == 0:
            return candidate
        without_venv = without_venv or candidate
    if without_venv:
        install_packages(["venv"])
        if _run([without_venv, "-c", probe]).returncode == 0:
            return without_venv
        raise SetupError(
            f"{without_venv} cannot make a venv: install its ensurepip, such as apt-get install python3-venv."
        )
    if asked:
        raise SetupError(f"PYTHON={asked} is not a Python {spoken}: name one, or leave PYTHON out.")
    raise SetupError(f"No Python {spoken} is installed: install one, or name it: make run PYTHON=/path/to/python3.12.")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, stdout=str(error))


def _pip(what: str, *arguments: str) -> None:
    command = [
        _python(),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "--retries",
        "2",
        *arguments,
    ]
    done = subprocess.run(
        # A download takes minutes: whoever sits at a terminal sees pip's progress.
        command if sys.stdout.isatty() else [*command, "--quiet"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SetupError(failure(what, done.stderr))


def _python() -> str:
    return str(VENV / "bin" / "python")


def venv_version() -> str:
    """Returns the version of the venv's Python, such as 3.11.7; empty when there is no venv that works."""
    if not os.path.exists(_python()):  # Also when the Python that it links to is gone.
        return ""
    try:
        text = (VENV / "pyvenv.cfg").read_text()
    except OSError:
        return ""
    found = re.search(r"^version(?:_info)? *= *(\d+\.\d+(?:\.\d+)?)", text, re.MULTILINE)
    return found[1] if found else ""


def stamp_key(machine: Machine, version: str) -> str:
    """Returns what the set-up depends on, as one hash: the next run does nothing while it stays the same."""
    files = ("pyproject.toml", "setup_host.py", "setup_choices.py")
    parts = [(ROOT / name).read_bytes() for name in files]
    parts += [repr(machine).encode(), version.encode(), str(ROOT).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def up_to_date(key: str, tests: bool) -> bool:
    """True when the last set-up was for this key and brought what is asked for now."""
    try:
        stamp = json.loads((VENV / "pdpanel-setup.json").read_text())
        return stamp["key"] == key and stamp["tests"] >= tests
    except (OSError, ValueError, LookupError, TypeError):
        return False


def make_venv(asked: str) -> None:
    """Makes `.venv` unless there is one with a fitting Python."""
    version = venv_version()
    if version and tuple(int(part) for part in version.split(".")[:2]) in PYTHONS:
        wanted = _run([asked, "-c", "import platform; print(platform.python_version())"]) if asked else None
        if wanted is None or wanted.stdout.strip() == version:
            return
    python = find_python(asked)
    say(f"a virtual environment in .venv with {python}, so that nothing outside this folder changes")
    done = _run([python, "-m", "venv", "--clear", str(VENV)])
    if done.returncode:
        raise SetupError(f"{python} could not make .venv; it says: {last_line(done.stdout)}")


def _installed() -> dict[str, str]:
    code = "import importlib.metadata as m; [print(d.name.lower(), d.version) for d in m.distributions()]"
    return dict(line.split() for line in _run([_python(), "-c", code]).stdout.splitlines())


def install_torch(machine: Machine) -> None:
    """Installs the torch that fits the machine, unless a fitting one is there."""
    choice = choose_torch(machine, _installed().get("torch"))
    if not choice.package:
        return
    say(f"{choice.package}: {choice.why}")
    arguments = [choice.package]
    if choice.package.endswith("+cpu"):
        plain = f"torch=={TORCH}"
        # Asked first, since from most indexes the plain name brings gigabytes of CUDA libraries.
        ask = [_python(), "-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--quiet"]
        report = subprocess.run(
            [*ask, "--report", "-", "--no-deps", plain],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        arguments = cpu_torch(report.stdout)
    _pip(f"Installing {' '.join(arguments)}", "install", *arguments)


def install_project(tests: bool) -> None:
    """Installs pdpanel from this folder, its dependencies and, for tests, their tools."""
    say(f"pdpanel and what it needs{' and its tests need' if tests else ''}; nothing that fits is upgraded")
    _pip("Installing pdpanel", "install", "-e", f"{ROOT}[test]" if tests else str(ROOT))
    # pyright does not follow the hook of an editable install; pyproject.toml names this folder to it.
    links = VENV / "links" / "pdpanel"
    links.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        if not (links / name).exists():
            (links / name).unlink(missing_ok=True)
            (links / name).symlink_to(ROOT / name, target_is_directory=True)


def install_mooncake(machine: Machine) -> None:
    """Installs the Mooncake build of the machine in place of any other.

    Raises:
        SetupError: it cannot be installed, or does not import.
    """
    choice = choose_mooncake(machine)
    if not choice.package:
        raise SetupError(f"{choice.why}.")
    builds = [name for name in _installed() if name.startswith(MOONCAKE)]
    others = [name for name in builds if name != choice.package]
    if others:
        say(f"{', '.join(others)} goes, since Mooncake's builds share one import name")
        _pip("Removing a Mooncake build", "uninstall", "-y", *builds)
    if builds != [choice.package]:
        say(f"{choice.package}: {choice.why}")
        _pip("Installing Mooncake", "install", choice.package + MOONCAKE_VERSION)
    done = _run([_python(), "-c", "import mooncake.engine"])
    if done.returncode:
        raise SetupError(f"{choice.package} is installed and does not import: {last_line(done.stdout)}.")


def set_up(tests: bool, asked: str) -> None:
    """Does what is missing; `tests` brings what the tests and the checks need too.

    Raises:
        SetupError: something that is needed cannot be had.
    """
    machine = probe_machine()
    missing = missing_packages(tests)
    needed = [key for key in missing if key not in OPTIONAL]
    if needed:
        _needed_by_tests(tests, lambda: install_packages(needed))
    _install_optional([key for key in missing if key in OPTIONAL])
    if not asked and up_to_date(stamp_key(machine, venv_version()), tests):
        return
    # One set-up at a time: a second `make` waits here and then finds the stamp.
    with open(__file__, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_venv(asked)
        key = stamp_key(machine, venv_version())
        if up_to_date(key, tests):
            return
        install_torch(machine)
        install_project(tests)
        if _needed_by_tests(tests, lambda: install_mooncake(machine)):
            (VENV / "pdpanel-setup.json").write_text(json.dumps({"key": key, "tests": tests}))
        say("done")


def _install_optional(missing: list[str]) -> None:
    """Installs what some tests want and skip without; when that cannot be, all else goes on."""
    if not missing:
        return
    try:
        install_packages(missing)
    except SetupError as error:
        say(f"warning: {error} Until then the tests that need it are skipped.")


def _needed_by_tests(tests: bool, step: Callable[[], None]) -> bool:
    """Does a step for Mooncake: tests cannot do without it, a panel can by the tcp transport."""
    try:
        step()
    except SetupError as error:
        if tests:
            raise
        say(f"warning: {error} Until then workers use the tcp transport.")
        return False
    return True


def main(arguments: list[str]) -> int:
    """Returns the exit status of one call from the Makefile."""
    parser = argparse.ArgumentParser(description="Set this checkout up on this machine.")
    parser.add_argument("--tests", action="store_true", help="bring what the tests need too")
    parser.add_argument("--python", default="", help="the Python to use; without it one that fits is found")
    options = parser.parse_args(arguments)
    try:
        set_up(options.tests, options.python)
    except SetupError as error:
        print(f"setup: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; run it again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
