"""How much room a file or a folder takes on the disk."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["bytes_of"]

_BLOCK = 512


def bytes_of(path: Path) -> int:
    """Returns the bytes on disk of `path` and of all below it; what cannot be read counts nothing, a link itself."""
    try:
        total = os.lstat(path).st_blocks * _BLOCK
    except OSError:
        return 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * _BLOCK
            except OSError:
                continue
    return total
