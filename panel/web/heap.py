"""Keeps the memory of the panel's process small: its threads share few heaps of the C library.

The C library gives each thread that allocates at the same time as others a heap of its own, which keeps what was freed
in it. The panel's threads run one at a time, so that these heaps buy nothing. Called by `serve` before threads start.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["share_heaps"]

# Of malloc.h: how many heaps there may be.
_M_ARENA_MAX = -8
_HEAPS = 1


def share_heaps() -> bool:
    """Lets all threads of this process use one heap; False where the C library has no such setting."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS))
    except (OSError, AttributeError):
        return False
