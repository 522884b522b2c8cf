"""One open log file: who it is, how long it is now, and bounded reads of it.

The only file of `panel.logs` that touches the disk. A link is followed to exactly the file that it names and no
further, so that swapping that file for a link, or a folder above it, shows nothing else. Called by `rows`, `scan` and
`seek`; opened by the log routes.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ...engine.errors import ConfigError, NotFoundError

__all__ = ["LogFile", "LogId", "open_log"]

_REMEDY = "name a plain file that this user can read"
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


@dataclass(frozen=True, slots=True)
class LogId:
    """What makes a file the same one, whatever its name."""

    device: int
    inode: int

    def __str__(self) -> str:
        return f"{self.device:x}-{self.inode:x}"


class LogFile:
    """An open log.

    Attributes:
        id: of the file itself.
        bytes_read: how many bytes have been asked for and come, since it was opened.
    """

    def __init__(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self._descriptor = descriptor
        self.id = LogId(status.st_dev, status.st_ino)
        self.bytes_read = 0

    def __enter__(self) -> LogFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Returns the descriptor."""
        return self._descriptor

    @property
    def size(self) -> int:
        """Bytes in the file now; it may grow, and shrink."""
        return os.fstat(self._descriptor).st_size

    @property
    def changed_at(self) -> float:
        """When it was last written to, unix seconds."""
        return os.fstat(self._descriptor).st_mtime

    def read(self, start: int, end: int) -> bytes:
        """Returns the bytes from `start` to `end`, fewer where the file ends before."""
        parts: list[bytes] = []
        at = max(0, start)
        while at < end and (data := os.pread(self._descriptor, end - at, at)):
            parts.append(data)
            at += len(data)
        found = b"".join(parts)
        self.bytes_read += len(found)
        return found


def open_log(path: Path) -> LogFile:
    """Opens the log at `path`, or the one file that the link at `path` names.

    Raises:
        NotFoundError: there is no such file (yet).
        ConfigError: it is no plain file, may not be read, or is not the file that the link was made for.
    """
    try:
        target = os.readlink(path)
    except OSError:
        target = ""
    descriptor = _open(target or os.fspath(path))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigError("log", target or str(path), "is not a plain file", _REMEDY)
        if target and os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)") != target:
            raise ConfigError("log", target, "leads to another file than the one that was attached", _REMEDY)
        return LogFile(descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def _open(path: str) -> int:
    try:
        return os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError("log", path, "is not there", "wait until the process writes it") from None
    except ValueError:
        raise ConfigError("log", path, "is not a path", _REMEDY) from None
    except OSError as error:
        problem = "is a link now" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        raise ConfigError("log", path, problem, _REMEDY) from None
