"""The operations of a forward pass as the driver reads them, and the memory that they work in.

The list is written once; a step changes only how many tiles each kind of operation has, and the tables of its
sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from .crew import Words
from .drive import OPERATION_WORDS
from .library import Library
from .memory import aligned

__all__ = ["Count", "Tape", "floats", "table"]


class Count(Enum):
    """What the tiles of an operation are counted by.

    fixed: the panels of a matrix. rows: tokens of the step. single, turn, several: lines of the attention's tables.
    last_...: the same of the last layer, where only tokens whose states are wanted go on.
    """

    FIXED = "fixed"
    ROWS = "rows"
    SINGLE = "single"
    TURN = "turn"
    SEVERAL = "several"
    LAST_ROWS = "last rows"
    LAST_SINGLE = "last single"
    LAST_TURN = "last turn"
    LAST_SEVERAL = "last several"


class Tape:
    """Operations in order.

    Args:
        program: where their functions are.
    """

    def __init__(self, program: Library) -> None:
        self._program = program
        self._functions: dict[str, int] = {}
        self._words: list[Words] = []
        self._lines: list[tuple[int, int, int, int]] = []
        self._places: dict[Count, list[int]] = {count: [] for count in Count}
        self.names: list[str] = []
        self.operations: Words = np.zeros((0, OPERATION_WORDS), dtype=np.int64)

    def add(self, function: str, words: Sequence[int], count: Count, tiles: int = 0, name: str = "") -> Words:
        """Appends an operation; returns its argument words, which may be changed until the driver runs."""
        if function not in self._functions:
            self._functions[function] = self._program.address(function)
        held = np.array(words, dtype=np.int64)
        self._words.append(held)
        self._places[count].append(len(self._lines))
        self._lines.append((self._functions[function], held.ctypes.data, tiles, 0))
        self.names.append(name or function)
        return held

    def finish(self) -> None:
        """Makes the operations readable for the driver; nothing is added after."""
        self.operations = np.array(self._lines, dtype=np.int64)

    def set_tiles(self, count: Count, tiles: int) -> None:
        """Sets the tiles of all operations of a kind."""
        self.operations[self._places[count], 2] = tiles


def floats(rows: int, width: int) -> NDArray[np.float32]:
    """Returns float memory [rows, width], aligned to cache lines."""
    return aligned(4 * rows * width).view(np.float32).reshape(rows, width)


def table(rows: int, width: int) -> Words:
    """Returns a table of 64-bit words [rows, width]."""
    return np.zeros((rows, width), dtype=np.int64)
