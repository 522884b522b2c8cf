"""How much memory and processor time this process uses: of /proc on Linux, what is not known there is 0 elsewhere."""

from __future__ import annotations

import os
import resource
from pathlib import Path

__all__ = ["processor_seconds", "resident_bytes"]

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Returns the bytes of this process that are in memory."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def processor_seconds() -> float:
    """Returns the seconds that this process computed, on all processors together."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
