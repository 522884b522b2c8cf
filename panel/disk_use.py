"""How much room a file or a folder takes on the disk."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["bytes_of", "size_text"]

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


def size_text(size: float) -> str:
    """Returns a size for people, such as "1.5 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
