"""Keeps a log below a size while its writer goes on writing to it.

The process writes to the file itself, in append mode, so the file cannot be rotated away from under it. Its newest part
is copied to its front and the rest cut off: the writer goes on behind that, no second file is needed, also on a full
disk, and a reader sees a file that has become shorter. The first MiB, with the start-up lines and the first error, is
put into `NAME.head.log` before. `runner.upkeep` calls it; knows nothing of processes.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["HEAD_BYTES", "LogCap", "head_of"]

HEAD_BYTES = 1 << 20
_KEPT_SHARE = 4
# The note at the front must not reach the part that is moved.
_LEAST_CAP_BYTES = 4096
_CHUNK_BYTES = 1 << 20
_MOST_TURNS = 20


def head_of(log: Path) -> Path:
    """Returns where the beginning of a log that was cut is kept."""
    return log.with_name(f"{log.stem}.head{log.suffix}")


class LogCap:
    """Cuts the logs of one run that have grown longer than `cap_bytes`.

    Args:
        folder: the run's logs; those below it are left alone.
        cap_bytes: the most that a log may have before it is cut to a quarter of that.
        others: further logs.
    """

    def __init__(self, folder: Path, cap_bytes: int, others: tuple[Path, ...] = ()) -> None:
        self._folder = folder
        self._others = others
        self.cap_bytes = max(cap_bytes, _LEAST_CAP_BYTES)

    def look(self) -> list[Path]:
        """Cuts what is too long, and returns what was cut; what cannot be cut now is tried again the next time."""
        with suppress(OSError):
            found = [Path(entry.path) for entry in os.scandir(self._folder) if entry.name.endswith(".log")]
            return [path for path in (*found, *self._others) if self._is_long(path) and self._cut(path)]
        return []

    def _is_long(self, path: Path) -> bool:
        if path.name.endswith(".head.log"):
            return False
        try:
            status = path.lstat()
        except OSError:
            return False
        # A link may lead anywhere, and a device has no end.
        return stat.S_ISREG(status.st_mode) and status.st_size > self.cap_bytes

    def _cut(self, path: Path) -> bool:
        try:
            # Not in append mode: what is copied goes to the front.
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            kept_head = _keep_head(descriptor, head_of(path))
            _move_to_front(descriptor, self.cap_bytes // _KEPT_SHARE, head_of(path).name if kept_head else "")
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


def _keep_head(descriptor: int, head: Path) -> bool:
    """Copies the first MiB to `head`, unless an earlier cut did; returns False when there is no room for it."""
    try:
        target = os.open(head, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return head.is_file()
    except OSError:
        return False
    try:
        with os.fdopen(target, "wb") as file:
            data = os.pread(descriptor, HEAD_BYTES, 0)
            file.write(data[: data.rfind(b"\n") + 1] or data)
    except OSError:
        with suppress(OSError):
            head.unlink()
        return False
    return True


def _move_to_front(descriptor: int, kept_bytes: int, head: str) -> None:
    size = os.fstat(descriptor).st_size
    source = size - kept_bytes
    first = os.pread(descriptor, _CHUNK_BYTES, source)
    source += first.find(b"\n") + 1
    beginning = f"its beginning is in {head}" if head else "there was no room to keep its beginning"
    note = f"[pdpanel] {source} bytes were cut out of this log here; {beginning}\n".encode()
    target = os.pwrite(descriptor, note, 0)
    # The writer goes on meanwhile: what it adds is moved too, until it is a chunk that takes no time.
    for _ in range(_MOST_TURNS):
        size = os.fstat(descriptor).st_size
        if source >= size:
            break
        while source < size:
            data = os.pread(descriptor, min(_CHUNK_BYTES, size - source), source)
            if not data:
                break
            written = os.pwrite(descriptor, data, target)
            source, target = source + written, target + written
    os.ftruncate(descriptor, target)
