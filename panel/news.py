"""Tells that something became of a run, at the cost of a look at its record's file: its runner writes that at once.

Asking the runner costs it and whoever asks a thousand times as much, on the cores where the run's processes start.
Called by the commands that wait for a run.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["News"]

_LOOK_S = 0.01


class News:
    """The news of one run.

    Args:
        path: the file of its record, which is replaced as a whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None

    def wait(self, longest_s: float) -> None:
        """Returns when the record is another one than at the call before, at once on the first, or when time is up."""
        deadline = time.monotonic() + longest_s
        while (now := self._stamp()) == self._seen and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        self._seen = now

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = os.stat(self._path)
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino
