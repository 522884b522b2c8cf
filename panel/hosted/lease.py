"""Who uses a hosted panel: each user shares a lock on its file, and the panel ends when nobody does.

The kernel gives a lock back whatever ends its holder, so a killed notebook keeps no panel alive. Blocking calls on
files, nothing else; `opening` takes leases, `hosted.__main__` looks whether there is one.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["Lease", "is_shared", "take_unused"]


class Lease:
    """One user's share of a panel; ends with `release`, or with the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, path: Path, *, new: bool = False) -> Lease | None:
        """Returns a lease on the file at `path`; None when it is gone, or its panel is about to end."""
        try:
            descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if new else 0), 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    @property
    def held(self) -> bool:
        """False after `release`."""
        return self._descriptor is not None

    def release(self) -> None:
        """Gives the lease back; a second time does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def take_unused(descriptor: int) -> bool:
    """Returns True when nobody has a lease; from then on nobody gets one, as long as `descriptor` is open."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_shared(path: Path) -> bool:
    """Returns True when somebody has a lease on the file at `path`; False also when its panel is about to end."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        # The panel at its end holds it alone: then neither can be had.
        if take_unused(descriptor):
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
    finally:
        os.close(descriptor)
