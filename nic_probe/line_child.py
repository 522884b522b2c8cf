"""A child process that tells something again and again, one line at a time, seen from outside.

Used where a library is asked that may hang or crash: that takes the child alone. Knows nothing of what the lines hold.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Final

__all__ = ["LineChild"]

_MOST_LINE: Final = 1 << 20


class LineChild:
    """The process `python -m MODULE ARGUMENTS`.

    Args:
        module: by its full name.
        arguments: for it.
        environ: its whole environment, in which LD_LIBRARY_PATH takes effect.
    """

    def __init__(self, module: str, arguments: tuple[str, ...], environ: Mapping[str, str]) -> None:
        command = [sys.executable, "-P", "-W", "ignore", "-m", module, *arguments]
        null = subprocess.DEVNULL
        self._text = b""
        self._process = subprocess.Popen(
            command, stdin=null, stdout=subprocess.PIPE, stderr=null, env=dict(environ), start_new_session=True
        )

    def newest(self, within_s: float) -> bytes | None:
        """Returns the line that it said last, waiting if it has said nothing since the call before.

        None when it says nothing in time. Raises EOFError when it has ended.
        """
        pipe = self._process.stdout
        if pipe is None or pipe.closed:
            raise EOFError
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        deadline = time.monotonic() + within_s
        while poll.poll(0 if b"\n" in self._text else max(0.0, deadline - time.monotonic()) * 1e3):
            part = os.read(pipe.fileno(), 1 << 16)
            self._text += part
            if not part or len(self._text) > _MOST_LINE:
                raise EOFError
        *lines, self._text = self._text.split(b"\n")
        return lines[-1] if lines else None

    def close(self) -> None:
        """Ends the process; one that hangs in a driver is left behind."""
        with contextlib.suppress(OSError):
            self._process.send_signal(signal.SIGKILL)
        if self._process.stdout is not None:
            self._process.stdout.close()
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.returncode = -signal.SIGKILL  # Nobody can wait for it.
