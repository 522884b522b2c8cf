"""One log file followed as it grows: its last rows first, then what is added.

Reads in bounded steps and notices when the file was replaced or cut (log rotation, a cap on its size). Blocking; the
log socket calls `read` in a worker thread. Knows nothing of runs or sockets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..logs.log_file import LogFile, LogId, open_log
from ..logs.marks import Mark, Marks
from ..logs.rows import Row, Window, rows_after, rows_before

__all__ = ["LogChunk", "LogTail"]

# Who is further behind sees the end again, instead of everything in between.
_MOST_BEHIND = 1 << 20


@dataclass(frozen=True, slots=True)
class LogChunk:
    """What one read found.

    Attributes:
        window: the rows; the first one takes the place of an unfinished one at the same offset.
        marks: the explained lines among them.
        log: the file's own name.
        restarted: True when the rows begin a new file, so that what was shown before is void.
    """

    window: Window
    marks: tuple[Mark, ...]
    log: LogId
    restarted: bool = False


class LogTail:
    """The reading end of one log file.

    Args:
        path: the log, which need not exist yet.
        marks: what is explained, shared by all who read logs.
    """

    def __init__(self, path: Path, marks: Marks) -> None:
        self._path = path
        self._marks = marks
        self._log: LogId | None = None
        self._end = 0
        self._size = 0
        self._before = b""

    def read(self) -> LogChunk | None:
        """Returns what is new, None when nothing is.

        Raises:
            NotFoundError: there is no such file (yet).
            ConfigError: it cannot be read.
        """
        with open_log(self._path) as file:
            size = file.size
            restarted = file.id != self._log or size < self._size or self._was_rewritten(file)
            if size == self._size and not restarted:
                return None
            restarted = restarted or size - self._end > _MOST_BEHIND
            window = rows_before(file, size) if restarted else rows_after(file, self._end)
            self._log = file.id
            self._end = window.end
            last: Row | None = window.rows[-1] if window.rows else None
            self._size = last.end if last else size
            self._before = file.read(max(0, self._end - 64), self._end)
            marks = self._marks.between(file, window.start, window.end) if window.rows else []
            return LogChunk(window, tuple(marks), file.id, restarted)

    def _was_rewritten(self, file: LogFile) -> bool:
        """Returns True for a file that was cut and has grown beyond the old place since."""
        return file.read(max(0, self._end - 64), self._end) != self._before
