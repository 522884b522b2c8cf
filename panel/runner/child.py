"""A process of a run and the news of its end: a child in a session of its own, or the child of a runner before.

Output goes to the log file itself, never through a pipe of ours, so a child outlives its runner. Knows
nothing of states; `runner.supervisor` and `runner.prepare` start children and adopt those that are there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ...engine.errors import ConfigError
from ..logs.restart_line import restart_line
from .procfs import is_still, read_stat

__all__ = ["UNKNOWN_EXIT", "Adopted", "Child", "Started", "describe_exit"]

UNKNOWN_EXIT = "ended; its exit code is unknown because its runner had ended before"


class Started(Protocol):
    """A process whose end becomes known.

    Attributes:
        pid: leads its own process group and session.
        start_ticks: clock ticks from boot to its start.
        ended: Popen's return code, set when it has ended; None where nobody can know it.
    """

    pid: int
    start_ticks: int
    ended: asyncio.Future[int | None]


class Child:
    """A process that this runner started; a `Started`."""

    def __init__(self, popen: subprocess.Popen[bytes], start_ticks: int) -> None:
        self._popen = popen
        self.pid = popen.pid
        self.start_ticks = start_ticks
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._handle = os.pidfd_open(popen.pid)
        asyncio.get_running_loop().add_reader(self._handle, self._on_end)

    @classmethod
    def start(cls, argv: Sequence[str], env: Mapping[str, str], cwd: str, log: Path) -> Child:
        """Starts `argv` with its output appended to `log`.

        Raises:
            ConfigError: the command cannot be started.
        """
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if os.fstat(descriptor).st_size:
            with suppress(OSError):  # a reader sees where the next start begins
                os.write(descriptor, restart_line(time.time()))
        try:
            popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ConfigError("command", argv[0], f"cannot be started: {reason}", "check the installation") from None
        finally:
            os.close(descriptor)
        stat = read_stat(popen.pid)
        return cls(popen, stat.start_ticks if stat else 0)

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        code = self._popen.wait()
        if not self.ended.done():
            self.ended.set_result(code)


class Adopted:
    """A process that an earlier runner of the run started; a `Started` whose exit code only its parent would learn."""

    def __init__(self, pid: int, start_ticks: int, handle: int) -> None:
        self.pid = pid
        self.start_ticks = start_ticks
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._handle = handle
        asyncio.get_running_loop().add_reader(handle, self._on_end)

    @classmethod
    def take(cls, pid: int | None, start_ticks: int | None, run_id: str) -> Adopted | None:
        """Returns the process that was `pid` since `start_ticks` of this boot; None when it is gone, or another's."""
        if pid is None or start_ticks is None:
            return None
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            return None
        # Looked at with the handle in hand: from here on the pid cannot become somebody else's unnoticed.
        if not is_still(pid, start_ticks, run_id):
            os.close(handle)
            return None
        return cls(pid, start_ticks, handle)

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        if not self.ended.done():
            self.ended.set_result(None)


def describe_exit(code: int | None) -> str:
    """Returns what Popen's return code means, such as "ended by SIGKILL" or "exit code 2"."""
    if code is None:
        return UNKNOWN_EXIT
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
