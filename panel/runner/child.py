"""A child process: its start in a session of its own, and the news of its end.

Output goes to the log file itself, never through a pipe of ours, so a child outlives its runner. Knows
nothing of states; `runner.supervisor` and `runner.prepare` start children.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...engine.errors import ConfigError
from .procfs import read_stat

__all__ = ["Child", "describe_exit"]


class Child:
    """A started process.

    Attributes:
        pid: leads its own process group and session.
        start_ticks: clock ticks from boot to its start.
        exit_code: Popen's return code, set when it has ended.
    """

    def __init__(self, popen: subprocess.Popen[bytes], start_ticks: int) -> None:
        self._popen = popen
        self.pid = popen.pid
        self.start_ticks = start_ticks
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._handle = os.pidfd_open(popen.pid)
        asyncio.get_running_loop().add_reader(self._handle, self._on_end)

    @classmethod
    def start(cls, argv: Sequence[str], env: Mapping[str, str], cwd: str, log: Path) -> Child:
        """Starts `argv` with its output appended to `log`.

        Raises:
            ConfigError: the command cannot be started.
        """
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
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


def describe_exit(code: int) -> str:
    """Returns what Popen's return code means, such as "ended by SIGKILL" or "exit code 2"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
