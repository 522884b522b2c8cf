"""Fake GPU libraries at the boundary where the real ones are loaded, and the environments that lead to them."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pdpanel.nic_probe.gpus.libraries import start_gpu_child

HERE = Path(__file__).parent

# Much more than the 2 s of the real probe, so that a busy machine makes no test fail.
AMPLE_S = 40.0

FakeNvml = Callable[..., dict[str, str]]
Ask = Callable[..., Mapping[str, dict[str, Any]]]


@pytest.fixture(scope="session")
def fake_nvml(tmp_path_factory: pytest.TempPathFactory) -> FakeNvml:
    """Returns an environment whose libnvidia-ml.so.1 is fake_nvml.c, in one of its modes; `old` for an old driver."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc or gcc) to build a fake libnvidia-ml.so.1 with")

    @functools.cache
    def built(old: bool) -> Path:
        folder = tmp_path_factory.mktemp("nvml")
        library = folder / "libnvidia-ml.so.1"
        options = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{library.name}"]
        command = [compiler, *options, *(["-DOLD"] if old else []), "-o", str(library), str(HERE / "fake_nvml.c")]
        subprocess.run(command, check=True)
        return folder

    def environ(mode: str = "", *, old: bool = False, **more: str) -> dict[str, str]:
        return {"PATH": "/nonexistent", "LD_LIBRARY_PATH": str(built(old)), "FAKE_NVML": mode, **more}

    return environ


@pytest.fixture
def ask() -> Ask:
    """Returns what each library says to the real child process in an environment."""

    def libraries(environ: Mapping[str, str], limit_s: float = AMPLE_S) -> Mapping[str, dict[str, Any]]:
        document = start_gpu_child(environ, limit_s=limit_s).collect()
        assert document.get("notes", []) == []
        return document["libraries"]

    return libraries
