"""Starts the child process that asks the GPU libraries, and takes what it says.

The child cannot hurt: it is killed when its time is over, and never waited for, since a process that hangs in a
driver does not die. Called by `probe` (and whoever writes a dump) on the live host; knows no library.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["GpuChild", "GpuLibraries", "gpu_facts", "start_gpu_child"]

# The probe blocks for no more than 2 s; the child ends itself some time before that.
_LIMIT_S = 1.95
_EARLIER_S = 0.2
_MOST_BYTES = 1 << 23


class GpuLibraries(Protocol):
    """What has asked the GPU libraries, or is doing so."""

    def collect(self) -> Mapping[str, Any]:
        """Returns the answers in the form that `child` prints."""
        ...


class GpuChild:
    """A child process that asks the libraries.

    Args:
        process: the child, with a pipe for stdout.
        deadline: when to give up, on the monotonic clock.
    """

    def __init__(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        self._process = process
        self._deadline = deadline

    def collect(self) -> dict[str, Any]:
        """Returns the child's document, waiting until the deadline at most; call it once.

        Without a document there is a note with the reason.
        """
        said = self._read()
        status = self._leave()
        try:
            document = json.loads(said)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict):
            return document
        ended = "did not answer in time" if status is None else f"ended with status {status} and no answer"
        return {"libraries": {}, "notes": [f"The process that asks the GPU libraries {ended}."]}

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        parts: list[bytes] = []
        length = 0
        with self._process.stdout as pipe:
            poll = select.poll()
            poll.register(pipe, select.POLLIN)
            while length <= _MOST_BYTES and (left := self._deadline - time.monotonic()) > 0:
                if not poll.poll(left * 1e3):
                    break
                part = os.read(pipe.fileno(), 1 << 16)
                if not part:
                    break
                parts.append(part)
                length += len(part)
        return b"".join(parts)

    def _leave(self) -> int | None:
        """Returns the child's exit status, None when it had to be killed."""
        # It ends itself at once when it has said everything. Whatever is left is killed, and reaped in its own
        # time by a thread: a process that hangs in the kernel takes no signal before that.
        try:
            return self._process.wait(max(0.0, min(0.1, self._deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            threading.Thread(target=self._process.wait, name="gpu-child-reaper", daemon=True).start()
            return None


class _NotStarted:
    """A child that could not be started."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def collect(self) -> dict[str, Any]:
        return {"libraries": {}, "notes": [f"The GPU libraries cannot be asked: {self._reason}."]}


def start_gpu_child(environ: Mapping[str, str], *, limit_s: float = _LIMIT_S) -> GpuLibraries:
    """Returns a child that asks the libraries from now on; its `collect` ends within `limit_s` from now.

    Args:
        environ: the child's whole environment, in which LD_LIBRARY_PATH and PYTHONPATH take effect.
        limit_s: how long it may take altogether, with the start of the interpreter.
    """
    seconds = str(max(0.1, limit_s - _EARLIER_S))
    command = [sys.executable, "-P", "-W", "ignore", "-m", f"{__package__}.child", seconds]
    deadline = time.monotonic() + limit_s
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return _NotStarted(str(error))
    return GpuChild(process, deadline)


def gpu_facts(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Returns what the GPU libraries of this host say, as a dump keeps it under "gpus"."""
    return start_gpu_child(environ).collect()
