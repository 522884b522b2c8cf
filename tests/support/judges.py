"""Judges: other people's parsers, each in a virtual environment that is made once and kept in the cache directory."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pdpanel.panel.config import read_config
from pdpanel.panel.file_lock import locked

PROGRAMS = Path(__file__).resolve().parents[1] / "judges" / "programs"
__all__ = ["PROGRAMS", "SGLANG", "VLLM", "VLLM_NEEDS", "Judge", "judge_python", "running_judge"]

SGLANG = "0.5.23"
VLLM = "0.32.0"
# What vLLM's parser and its benchmark client import beside our own packages.
VLLM_NEEDS = (
    "apache-tvm-ffi",
    "cachetools",
    "cbor2",
    "cloudpickle",
    "llguidance",
    "openai-harmony",
    "partial-json-parser",
    "py-cpuinfo",
    "pybase64",
    "pyzmq",
    "xgrammar",
)


class Judge:
    """A program that reads a batch a line and answers each with a line; it starts once for all batches."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, batch: Sequence[Any]) -> dict[str, Any]:
        """Returns what the program says of a batch; `errors` has one text per entry, empty for a good one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(batch) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the judge ended with {self._process.wait()}; its last words are in the test's output"
        return json.loads(answer)

    def errors(self, batch: Sequence[Any]) -> list[str]:
        """Returns one text per entry of the batch, empty for one that is taken."""
        return self.ask(batch)["errors"]


@contextmanager
def running_judge(python: Path, program: str) -> Iterator[Judge]:
    """Starts a program of tests/judges/programs and ends it by the end of its input."""
    command = [str(python), str(PROGRAMS / program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Judge(process)


def judge_python(name: str, requirements: Sequence[str], *, whole: bool = False) -> Path:
    """Returns the interpreter of a venv with these packages above our own packages.

    Args:
        whole: also with all that they require and ours lack, or have in another version; else the named ones alone.
    """
    ours = sysconfig.get_paths()["purelib"]
    parts = [ours, sys.version, *requirements, *(["whole"] if whole else [])]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
    places = read_config().cache_dir / "judges"
    places.mkdir(parents=True, exist_ok=True)
    folder = places / f"{name}-{key}"
    python = folder / "bin" / "python"
    with locked(places / f"{name}.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", "--without-pip", folder)
            pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
            (purelib,) = folder.glob("lib/python*/site-packages")
            (purelib / "ours.pth").write_text(f"{ours}\n")
            extent = ("--upgrade-strategy", "only-if-needed") if whole else ("--no-deps",)
            _run(*pip, "install", "--quiet", "--no-compile", *extent, *requirements)
            (folder / "complete").touch()
    return python


def _run(*command: str | Path) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
