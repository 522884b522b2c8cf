"""One log file followed as it grows: the last 64 KB first, then what is added.

Reads in bounded steps and notices when the file was replaced or cut (log rotation, a restarted process).
Blocking; the log socket calls `read` in a worker thread. Knows nothing of runs or sockets.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .log_text import LogText

__all__ = ["LogChunk", "LogTail"]

_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogChunk:
    """What one read found.

    Attributes:
        text: new text, at most 64 KB of the file.
        restarted: True when the text begins a new file, so that what was shown before is void.
        skipped_bytes: bytes of the file before the text that are not shown.
    """

    text: str
    restarted: bool = False
    skipped_bytes: int = 0


class LogTail:
    """The reading end of one log file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None
        self._offset = 0
        self._text = LogText()

    def read(self) -> LogChunk | None:
        """Returns what is new, or None when nothing is (also while the file does not exist)."""
        try:
            with self._path.open("rb") as file:
                return self._read(file.fileno())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _read(self, descriptor: int) -> LogChunk | None:
        status = os.fstat(descriptor)
        identity = (status.st_dev, status.st_ino)
        restarted = identity != self._identity or status.st_size < self._offset
        skipped = 0
        if restarted:
            self._identity = identity
            self._text = LogText()
            skipped = self._offset = max(0, status.st_size - _LIMIT)
        data = os.pread(descriptor, _LIMIT, self._offset)
        self._offset += len(data)
        if skipped:
            # The first line is most likely cut: begin after it.
            _, newline, rest = data.partition(b"\n")
            if newline:
                skipped += len(data) - len(rest)
                data = rest
        if not data and not restarted:
            return None
        return LogChunk(self._text.feed(data), restarted, skipped)
