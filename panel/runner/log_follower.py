"""Reads what was added to a log since the last look, bounded, whatever becomes of the file meanwhile.

A file that is longer than a look may read is read from near its end; one that was cut or replaced is read from its
begin. Knows nothing of what the lines mean.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["LogFollower"]

_MOST_BYTES: Final = 256 << 10


class LogFollower:
    """The new lines of one file.

    Args:
        path: the file, which may not exist yet.
        most_bytes: the most that one look reads.
    """

    def __init__(self, path: Path, most_bytes: int = _MOST_BYTES) -> None:
        self._path = path
        self._most = most_bytes
        self._place = 0
        self._inode = 0
        self._looked = False

    def new_lines(self) -> list[str]:
        """Returns the whole lines that were added; none of what was there before the first look."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._looked = True
            return []
        try:
            about = os.fstat(descriptor)
            if not self._looked:
                self._place, self._inode = about.st_size, about.st_ino
            if about.st_ino != self._inode or about.st_size < self._place:
                self._place = 0
                self._inode = about.st_ino
            cut = about.st_size - self._place > self._most
            if cut:
                self._place = about.st_size - self._most
            data = os.pread(descriptor, self._most, self._place) if about.st_size > self._place else b""
        except OSError:
            return []
        finally:
            os.close(descriptor)
        self._looked = True
        whole = data.rfind(b"\n") + 1
        # A line without an end as long as a whole look is passed over: it is no log line.
        self._place += whole or (len(data) if len(data) == self._most else 0)
        lines = data[:whole].split(b"\n")[:-1]
        if cut:
            lines = lines[1:]
        return [line.decode("utf-8", "replace") for line in lines]
