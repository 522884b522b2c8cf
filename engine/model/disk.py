"""What every writer into the cache does: check free space, hold a lock, turn disk errors into sentences.

Knows nothing of models. Called by the fetchers and the converter.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ConfigError
from .progress import OnProgress, Progress

__all__ = ["disk_errors", "file_lock", "require_space"]


def require_space(directory: Path, needed: int, *, field: str, value: str) -> None:
    """Checks that `needed` bytes and a little more are free where `directory` lies.

    Raises:
        ConfigError: there is less; it names both numbers.
    """
    free = shutil.disk_usage(directory).free
    if free < needed + (16 << 20):
        problem = f"{needed / 1e6:,.0f} MB are needed in {directory} and {free / 1e6:,.0f} MB are free"
        raise ConfigError(field, value, problem, "free space or move the cache with PDPANEL_CACHE_DIR")


@contextmanager
def file_lock(path: Path, on_progress: OnProgress) -> Iterator[None]:
    """Holds an exclusive lock on the file `path`; reports `wait` once when another process holds it.

    The lock ends with the process, whatever ends it. The file stays: removing it would let two holders in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress(Progress("wait", 0, 0))
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(value: str) -> Iterator[None]:
    """Turns an OSError of the block into a ConfigError about the model `value`."""
    try:
        yield
    except OSError as error:
        where = f" on {error.filename}" if error.filename else ""
        problem = f"{error.strerror or error}{where}"
        remedy = "see that the model is readable, and the cache (PDPANEL_CACHE_DIR) writable and not full"
        raise ConfigError("--model-path", value, problem, remedy) from error
