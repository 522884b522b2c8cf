"""What one file held: its results, and what the findings rest on.

Values. Made by `parse`, judged by `findings`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .bench_result import BenchResult

__all__ = ["Line", "Observed", "TransferErrors", "Unfinished"]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, from 1, with its text or a part of it."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A run that began and of which the file holds no result.

    Attributes:
        line: where it was announced.
        what: how the file names it.
    """

    line: int
    what: str
    concurrency: int | None = None
    input_length: int | None = None
    output_length: int | None = None
    iteration: int | None = None

    def is_same_point(self, result: BenchResult) -> bool:
        """Returns True for a result of the same point, which a later try gave."""
        asked = (self.concurrency, self.input_length, self.output_length, self.iteration)
        given = (result.concurrency, result.input_length, result.output_length, result.iteration)
        return self.concurrency is not None and asked == given and result.line > self.line


@dataclass(frozen=True, slots=True)
class TransferErrors:
    """How often answers ended before their time.

    Attributes:
        count: lines, or requests of a result file, that say so.
        first: some of them.
        concurrencies: of the runs in which it happened, where known.
    """

    count: int = 0
    first: tuple[Line, ...] = ()
    concurrencies: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Observed:
    """One file.

    Attributes:
        lines: how many it has.
        refused: numbers that are not written as the benchmarks write them.
        broken: lines of a JSON file that are no JSON.
    """

    source: str
    lines: int
    results: tuple[BenchResult, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    transfer_errors: TransferErrors = field(default_factory=TransferErrors)
    refused: tuple[Line, ...] = ()
    broken: tuple[int, ...] = ()
