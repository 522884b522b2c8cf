"""A stand-in for engines that writes down what arrives: the bytes of its arguments and of its environment.

It lies in a folder that a test puts into PATH, under the names that a plan calls. With HOLD it stays until it is
stopped, as an engine does.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

# The kernel's own copies, so that no program between can have touched them.
_PROGRAM = """#!/bin/sh
cp /proc/$$/environ "$RECORD/$1.environ"
cp /proc/$$/cmdline "$RECORD/$1.part"
mv "$RECORD/$1.part" "$RECORD/$1.cmdline"
if [ -n "$HOLD" ]; then exec /bin/sleep 600; fi
"""
_PATIENCE_S, _POLL_S = 60.0, 0.02
OF_A_SHELL = {b"SHLVL", b"_", b"PWD", b"OLDPWD"}


class Recorder:
    """Stand-ins in `folder`/bin; the first argument of each call names the record."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.records = folder / "records"
        self.records.mkdir(parents=True)
        programs = folder / "bin"
        programs.mkdir()
        for name in names:
            path = programs / name
            path.write_text(_PROGRAM)
            path.chmod(0o755)
        self.environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "RECORD": str(self.records),
            "HOME": "/nowhere",
            "LANG": "C.UTF-8",
        }

    def run(self, *argv: str, cwd: Path, hold: bool = False) -> subprocess.CompletedProcess[str]:
        environ = self.environ | ({"HOLD": "1"} if hold else {})
        return subprocess.run(
            argv, cwd=cwd, env=environ, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL
        )

    def await_records(self, names: Iterable[str]) -> None:
        """Waits until each has written down what arrived: a start returns when its processes are there."""
        deadline = time.monotonic() + _PATIENCE_S
        for name in names:
            while not (self.records / f"{name}.cmdline").exists():
                assert time.monotonic() < deadline, f"{name} has recorded nothing within {_PATIENCE_S:g} s"
                time.sleep(_POLL_S)

    def arguments(self, name: str) -> tuple[str, ...]:
        """The arguments that arrived, without the shell and the program's path in front."""
        data = (self.records / f"{name}.cmdline").read_bytes()
        words = data.split(b"\0")
        assert words.pop() == b""
        return tuple(word.decode() for word in words[2:])

    def variables(self, name: str) -> dict[str, str]:
        """The variables that arrived beside those that the test itself had set."""
        data = (self.records / f"{name}.environ").read_bytes()
        pairs = (pair.partition(b"=") for pair in data.split(b"\0") if pair)
        found = {key: value.decode() for key, _, value in pairs if key not in OF_A_SHELL}
        own = {key.encode(): value for key, value in self.environ.items()} | {b"HOLD": "1"}
        return {key.decode(): value for key, value in found.items() if own.get(key) != value}
