"""How a process is run: by another interpreter, out of a virtual environment, or in a container. Pure.

Works on a finished ProcessSpec, so that no dialect has to know of it. Called by `panel.plan`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import replace

from ...engine.errors import ConfigError
from ..deployment_parts import RunSpec
from ..launch import ProcessSpec

__all__ = ["OWN_VARIABLES", "run_by"]

_PYTHON = re.compile(r"(?:.*/)?python[0-9.]*")
OWN_VARIABLES = ("PDPANEL_RUN_ID", "PDPANEL_PROCESS", "PDPANEL_CACHE_DIR")
_RUNTIME_VARIABLES = frozenset(OWN_VARIABLES)
_FOLDER = "/deployment"
_GPU_OPTIONS = ("--gpus", "--device", "--runtime")


def run_by(spec: ProcessSpec, run: RunSpec, name: str, *, gpus: bool, rdma: bool) -> ProcessSpec:
    """Returns the process as `run` wants it started.

    In a container the process sees the host's network and its folder at /deployment; memory may be locked, and GPUs
    and RDMA devices are passed in. The variables are given with --env, so that they reach the process.

    Args:
        spec: the process, with all of its variables.
        run: how; an empty one changes nothing.
        name: the container's name.
        gpus: True for a process that computes on GPUs.
        rdma: True for one whose KV may travel over RDMA.

    Raises:
        ConfigError: an interpreter and an image are both named.
    """
    argv = list(spec.argv)
    if run.image is not None and run.venv is not None:
        raise ConfigError("run.venv", run.venv, "cannot go with an image", "remove run.venv or run.image")
    is_python = _PYTHON.fullmatch(argv[0]) is not None
    if run.python is not None and is_python:
        argv[0] = run.python
    elif run.venv is not None and (is_python or "/" not in argv[0]):
        argv[0] = posixpath.join(run.venv, "bin", posixpath.basename(argv[0]))
    elif run.image is not None and is_python:
        argv[0] = posixpath.basename(argv[0])  # The path is this host's, not the image's.
    spec = replace(spec, argv=tuple(argv), cwd=run.cwd or spec.cwd)
    if run.image is None:
        return spec
    return replace(spec, argv=tuple(_container(spec, run, run.image, name, gpus, rdma)))


def _container(spec: ProcessSpec, run: RunSpec, image: str, name: str, gpus: bool, rdma: bool) -> Sequence[str]:
    argv = [run.runtime, "run", "--rm", "--init", "--name", name, "--network", "host", "--ipc", "host"]
    argv += ["--ulimit", "memlock=-1:-1", "--volume", f"{spec.cwd or '.'}:{_FOLDER}", "--workdir", _FOLDER]
    if gpus and not any(option.partition("=")[0] in _GPU_OPTIONS for option in run.args):
        argv += ["--gpus", "all"] if run.runtime == "docker" else ["--device", "nvidia.com/gpu=all"]
    if rdma:
        argv += ["--device", "/dev/infiniband", "--cap-add", "IPC_LOCK"]
    for variable, value in spec.env.items():
        if variable not in _RUNTIME_VARIABLES:
            argv += ["--env", f"{variable}={value}"]
    return [*argv, *run.args, image, *spec.argv]
