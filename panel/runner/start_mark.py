"""The line that tells two lives of a process apart in its log, which goes on when it is started again."""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["mark_start"]


def mark_start(log: Path, now: float) -> int:
    """Writes the line to `log` unless that is empty, and returns where the new life begins, bytes.

    Raises:
        OSError: the log cannot be written.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if os.fstat(descriptor).st_size:
            moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
            os.write(descriptor, f"--- pdpanel starts it again: {moment} UTC ---\n".encode())
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
