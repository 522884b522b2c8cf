"""The child's main program, run as a person would run it; what libraries do to it is in test_nvml."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pdpanel.nic_probe.gpus.child as child

if TYPE_CHECKING:
    from .conftest import FakeNvml


def run(environ: dict[str, str], **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", child.__name__, "40"]
    return subprocess.run(command, env=environ, capture_output=True, check=True, **options)  # pyright: ignore


def test_one_document_on_stdout_and_nothing_else(fake_nvml: FakeNvml) -> None:
    ended = run(fake_nvml("prints"))
    assert ended.stderr == b""
    assert len(json.loads(ended.stdout)["libraries"]["NVML"]["gpus"]) == 2


def test_a_crash_leaves_no_core_behind(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]

    def wants_cores() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    ended = run(fake_nvml("crash"), cwd=tmp_path, preexec_fn=wants_cores)
    assert b"SIGABRT" in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_imports_nothing_heavy() -> None:
    """Its start is on the way of every probe."""
    show = f"import sys, {child.__name__}; print(*sys.modules)"
    environ = {"PATH": os.defpath}
    loaded = subprocess.run(
        [sys.executable, "-c", show], env=environ, capture_output=True, check=True, text=True
    ).stdout
    modules = set(loaded.split())
    package = child.__name__.split(".")[0]
    assert {"torch", "gradio", "dataclasses", "pynvml", "subprocess", "asyncio"} & modules == set()
    assert [
        name for name in modules if name.startswith(package) and name.endswith((".host", ".probe", ".gpu", ".reading"))
    ] == []
