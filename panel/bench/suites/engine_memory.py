"""What the host can do at best, for the bounds of the `engine` suite: bytes read and products computed per second.

Reading is `memchr` of the C library over a buffer far larger than caches, for a byte that is not in it: loads of whole
vectors and hardly anything else. Products are torch's fp32 matrix products of a prompt chunk's size.
"""

from __future__ import annotations

import ctypes
import mmap
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .engine_contender import Setup

__all__ = ["Memory"]

_SPREAD = 1 << 30
_ROWS, _WIDTH = 512, 1536
_REPEATS = 8


class Memory:
    """A buffer of 1 GiB, read by `setup.threads` threads."""

    def __init__(self, setup: Setup) -> None:
        self._threads = setup.threads
        self._map = mmap.mmap(-1, _SPREAD)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            self._map.madvise(mmap.MADV_HUGEPAGE)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        ctypes.memset(self._address, 1, _SPREAD)
        find = ctypes.CDLL(None).memchr
        find.argtypes, find.restype = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t), ctypes.c_void_p
        self._find = find  # ctypes lets go of the interpreter's lock while it runs
        self._pool = ThreadPoolExecutor(setup.threads)

    def about(self) -> dict[str, Any]:
        """Returns the size of the buffer."""
        return {"buffer_bytes": _SPREAD}

    def read(self) -> float:
        """Returns the bytes read in a second."""
        size = _SPREAD // self._threads
        places = [self._address + number * size for number in range(self._threads)]
        began = time.perf_counter()
        found = list(self._pool.map(lambda place: self._find(place, 2, size), places))
        taken = time.perf_counter() - began
        assert not any(found)
        return size * self._threads / taken

    def products(self) -> float:
        """Returns the fp32 operations in a second, a multiplication and an addition counting as two."""
        import torch

        torch.set_num_threads(self._threads)
        left, right = torch.rand(_ROWS, _WIDTH), torch.rand(_WIDTH, _WIDTH)
        out = torch.mm(left, right)
        began = time.perf_counter()
        for _ in range(_REPEATS):
            torch.mm(left, right, out=out)
        return 2 * _ROWS * _WIDTH * _WIDTH * _REPEATS / (time.perf_counter() - began)
