"""Whether the processes of a plan can be started on this host: its nodes are here, its programs are installed.

Asks each interpreter once for the packages that are wanted of it, without importing them. Called by `panel.runs`
before it writes anything.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from ...engine.errors import ConfigError
from ..launch import LaunchPlan, ProcessSpec, Role
from ..planning.hosts import is_loopback

__all__ = ["check_startable", "local_addresses"]

_ASK = "import importlib.util as u, sys; sys.exit(0 if u.find_spec(sys.argv[1]) else 3)"
_ASK_S = 20.0
_ABSENT = 3
# What decides which program runs, and what it loads when it does.
_DECISIVE = ("PATH", "PYTHON", "LD_", "GLIBC_")


def check_startable(
    plan: LaunchPlan, environ: Mapping[str, str], addresses: Iterable[str], *, agreed: bool = True
) -> None:
    """Raises ConfigError when a process of `plan` cannot be started here.

    Args:
        plan: what would be started.
        environ: what its processes inherit.
        addresses: those of this host, with its names.
        agreed: False while nobody has agreed to the plan's commands: nothing is run then but this host's own
            interpreters as they are, and what only others could answer is left to the start.
    """
    if any(spec.role is Role.SUBMIT for spec in plan.processes):
        problem = "is a job that Slurm runs, of which nothing stays here to watch and to stop"
        remedy = "export it (pdpanel export --format slurm -o DIR) and submit it where Slurm is"
        raise ConfigError("dialect", plan.dialect, problem, remedy)
    here = frozenset(addresses)
    for node, address in plan.addresses.items():
        if address not in here and node not in here and not is_loopback(address):
            problem = "is another host, and processes are started on this one alone"
            raise ConfigError("hosts", node, problem, "export the deployment (pdpanel export) and start it there")
    asked: set[tuple[str, str]] = set()
    for spec in plan.processes:
        if spec.argv[0] == sys.executable:
            continue  # The interpreter of this very program has what the bundled engine needs.
        if agreed or not any(name.startswith(_DECISIVE) for name in spec.env):
            _check_program(spec, {**environ, **spec.env} if agreed else environ, asked, agreed)


def local_addresses() -> frozenset[str]:
    """Returns the names and addresses of this host, loopback included."""
    import psutil  # only here: it would cost every start of the command line

    found = {"localhost", socket.gethostname()}
    for items in psutil.net_if_addrs().values():
        found |= {item.address.partition("%")[0] for item in items if item.family in {socket.AF_INET, socket.AF_INET6}}
    return frozenset(found)


def _check_program(spec: ProcessSpec, environ: Mapping[str, str], asked: set[tuple[str, str]], agreed: bool) -> None:
    program = spec.argv[0]
    module = spec.argv[2].partition(".")[0] if len(spec.argv) > 2 and spec.argv[1] == "-m" else ""
    if (program, module) in asked:
        return
    asked.add((program, module))
    path = _find(program, spec.cwd, environ)
    field = f"{spec.name}.run"
    if path is None:
        remedy = "install it, or say in `run` where it is: python, venv or image"
        raise ConfigError(field, program, "is not a program of this host", remedy)
    if module and (agreed or "/" not in program) and not _has_module(path, module, environ):
        remedy = f"install {module} there (see `pdpanel recipe`), or name another interpreter or an image in `run`"
        raise ConfigError(field, program, f"is a Python without the package {module}", remedy)


def _find(program: str, cwd: str, environ: Mapping[str, str]) -> str | None:
    if "/" in program:
        program = str(Path(cwd or ".") / program)
    return shutil.which(program, path=environ.get("PATH"))


def _has_module(python: str, module: str, environ: Mapping[str, str]) -> bool:
    try:
        done = subprocess.run(
            [python, "-c", _ASK, module],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_ASK_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode != _ABSENT
