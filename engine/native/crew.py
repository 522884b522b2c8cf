"""The threads that run a program's operations together; the caller is one of them."""

from __future__ import annotations

import ctypes
import queue
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..priority import be_nice
from .drive import LINE_WORDS
from .library import Library
from .memory import aligned

__all__ = ["Crew", "Words"]

Words = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Order:
    """One run, with counters and a list of operations of its own.

    A thread may still go through a run that is over, when the next one has begun: it finds every tile taken there.
    """

    operations: Words
    counters: Words


class Crew:
    """Calls `drive` on several threads at once.

    Args:
        library: has `drive`, and what the operations call.
        threads: at least 1.
        scratch_bytes: memory that each thread has for itself.
        niceness: of the threads beside the caller's.
    """

    def __init__(self, library: Library, threads: int, scratch_bytes: int, niceness: int = 0) -> None:
        place = ctypes.c_void_p
        prototype = ctypes.CFUNCTYPE(None, place, ctypes.c_int64, place, place, place)
        self._library = library
        self._drive = prototype(library.address("drive"))
        self._scratch = [aligned(scratch_bytes) for _ in range(threads)]
        self._niceness = niceness
        self._orders: list[queue.SimpleQueue[_Order | None]] = []
        for index in range(1, threads):
            orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
            self._orders.append(orders)
            threading.Thread(target=self._serve, args=(orders, index), name=f"native-{index}", daemon=True).start()

    def run(self, operations: Words, clock: Words | None = None) -> None:
        """Runs operations [count, OPERATION_WORDS]; returns when all are done.

        Args:
            clock: a word for each operation, which gets the processor's cycle counter after it.
        """
        order = _Order(operations.copy(), np.zeros((len(operations), LINE_WORDS), dtype=np.int64))
        for orders in self._orders:
            orders.put(order)
        self._run(order, 0, clock.ctypes.data if clock is not None else 0)

    def close(self) -> None:
        """Lets the threads end."""
        for orders in self._orders:
            orders.put(None)

    def _run(self, order: _Order, index: int, clock: int) -> None:
        operations, counters = order.operations, order.counters
        scratch = self._scratch[index].ctypes.data
        self._drive(operations.ctypes.data, len(operations), counters.ctypes.data, scratch, clock)

    def _serve(self, orders: queue.SimpleQueue[_Order | None], index: int) -> None:
        be_nice(self._niceness)
        while (order := orders.get()) is not None:
            self._run(order, index, 0)
