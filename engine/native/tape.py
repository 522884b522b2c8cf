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

    rows: tokens of the step. dots: those that are multiplied as bytes. floats: the others. any_...: 1 when there are
    any, for operations whose tiles are the panels of a matrix. single, turn, several: lines of the attention's tables.
    last_...: the same of the last layer, where only tokens whose states are wanted go on.
    """

    ROWS = "rows"
    DOTS = "dots"
    FLOATS = "floats"
    ANY_DOTS = "any dots"
    ANY_FLOATS = "any floats"
    SINGLE = "single"
    TURN = "turn"
    SEVERAL = "several"
    LAST_ROWS = "last rows"
    LAST_DOTS = "last dots"
    LAST_FLOATS = "last floats"
    LAST_ANY_DOTS = "last any dots"
    LAST_ANY_FLOATS = "last any floats"
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
        self._tiles: Words = np.zeros(0, dtype=np.int64)
        self._lines: list[tuple[int, int, int, int]] = []
        self._places: dict[Count, list[int]] = {count: [] for count in Count}
        self._numbers: dict[Count, int] = {}
        self.names: list[str] = []
        self.operations: Words = np.zeros((0, OPERATION_WORDS), dtype=np.int64)

    def add(self, function: str, words: Sequence[int], count: Count, tiles: int = 1, name: str = "") -> Words:
        """Appends an operation; returns its argument words, which may be changed until the driver runs.

        Args:
            tiles: of each of what is counted.
        """
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
        self._tiles = self.operations[:, 2].copy()

    def set_count(self, count: Count, number: int) -> None:
        """Sets the tiles of all operations of a kind; from one decode step to the next they hardly ever change."""
        if self._numbers.get(count) != number:
            self._numbers[count] = number
            places = self._places[count]
            self.operations[places, 2] = number * self._tiles[places]


def floats(rows: int, width: int) -> NDArray[np.float32]:
    """Returns float memory [rows, width], aligned to cache lines."""
    return aligned(4 * rows * width).view(np.float32).reshape(rows, width)


def table(rows: int, width: int) -> Words:
    """Returns a table of 64-bit words [rows, width]."""
    return np.zeros((rows, width), dtype=np.int64)
