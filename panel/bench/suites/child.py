"""A process of a benchmark's own that takes orders and answers, a line of JSON each.

Its input and output are ours alone; what it says of a failure beside its answers stands on our error output. What the
lines mean, the suites know.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO

from ....engine.errors import PeerError

__all__ = ["Child"]

_END_S = 5.0


class Child:
    """One process.

    Args:
        about: it, as a sentence begins.
        module: that it runs, by its whole name.

    Attributes:
        process: the system's.
    """

    def __init__(self, about: str, module: str, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._about = about
        self._rest = b""

    def tell(self, line: bytes) -> None:
        """Sends a line; to a process that has ended nothing, as `hear` finds out."""
        try:
            _pipe(self.process.stdin).write(line + b"\n")
        except OSError:
            pass

    def hear(self, patience_s: float) -> bytes:
        """Returns the next line.

        Raises:
            PeerError: it ended, or does not answer in time.
        """
        pipe, deadline = _pipe(self.process.stdout), time.monotonic() + patience_s
        while b"\n" not in self._rest:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise PeerError(f"{self._about} does not answer within {patience_s:g} s.")
            if not (data := os.read(pipe.fileno(), 1 << 16)):
                raise PeerError(f"{self._about} ended with code {self.process.wait()}.")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def close(self) -> None:
        """Ends the process."""
        _pipe(self.process.stdin).close()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _pipe(self.process.stdout).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
