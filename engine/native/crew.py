"""The threads that run a program's operations together; the caller is one of them."""

from __future__ import annotations

import ctypes
import queue
import threading

import numpy as np
from numpy.typing import NDArray

from ..priority import be_nice
from .drive import LINE_WORDS
from .memory import aligned

__all__ = ["Crew", "Words"]

Words = NDArray[np.int64]


class Crew:
    """Calls `drive` on several threads at once.

    Args:
        drive: address of the function that `drive.write_drive` wrote.
        threads: at least 1.
        scratch_bytes: memory that each thread has for itself.
        niceness: of the threads beside the caller's.
    """

    def __init__(self, drive: int, threads: int, scratch_bytes: int, niceness: int = 0) -> None:
        words = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        prototype = ctypes.CFUNCTYPE(None, *words, ctypes.c_void_p, ctypes.c_void_p)
        self._drive = prototype(drive)
        self.threads = threads
        self._scratch = [aligned(scratch_bytes) for _ in range(threads)]
        self._counters = np.zeros(LINE_WORDS, dtype=np.int64)
        self._base = 0
        self._niceness = niceness
        self._orders: list[queue.SimpleQueue[tuple[int, ...] | None]] = []
        for index in range(1, threads):
            orders: queue.SimpleQueue[tuple[int, ...] | None] = queue.SimpleQueue()
            self._orders.append(orders)
            threading.Thread(target=self._serve, args=(orders, index), name=f"native-{index}", daemon=True).start()

    def run(self, operations: Words, clock: Words | None = None) -> None:
        """Runs operations [count, OPERATION_WORDS]; returns when all are done.

        Args:
            clock: a word for each operation, which gets the processor's cycle counter after it.
        """
        count = len(operations)
        needed = LINE_WORDS * (count + 1)
        if len(self._counters) < needed:
            self._counters = np.zeros(needed, dtype=np.int64)
            self._base = 0
        self._counters[LINE_WORDS:needed] = 0
        ticks = clock.ctypes.data if clock is not None else 0
        order = (operations.ctypes.data, count, self._counters.ctypes.data, self.threads, self._base)
        for orders in self._orders:
            orders.put(order)
        self._drive(*order, self._scratch[0].ctypes.data, ticks)
        self._base += self.threads * count

    def close(self) -> None:
        """Lets the threads end."""
        for orders in self._orders:
            orders.put(None)

    def _serve(self, orders: queue.SimpleQueue[tuple[int, ...] | None], index: int) -> None:
        be_nice(self._niceness)
        while (order := orders.get()) is not None:
            self._drive(*order, self._scratch[index].ctypes.data, 0)
