"""What a benchmark found, beside what it should be: one line per figure. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Figure", "figure_of"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure, the smaller the better.

    Attributes:
        case: the circumstances, in a few words.
        value: the median of what was measured.
        least: the smallest of it.
        most: the largest of it.
        goal: what it should be at most; None where there is none.
        note: what a reader must know about it; empty for nothing.
    """

    case: str
    metric: str
    unit: str
    value: float
    least: float
    most: float
    goal: float | None = None
    note: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached; True without one."""
        return self.goal is None or self.value <= self.goal

    def line(self, suite: str) -> dict[str, object]:
        """Returns the figure as a JSON line shows it; the peer is the goal."""
        line: dict[str, object] = {
            "suite": suite,
            "case": self.case,
            "metric": self.metric,
            "value": round(self.value, 3),
            "unit": self.unit,
            "peer": "goal",
            "peer_value": self.goal,
            "ratio": None if not self.goal else round(self.value / self.goal, 3),
            "min": round(self.least, 3),
            "max": round(self.most, 3),
        }
        return {**line, "note": self.note} if self.note else line

    def text(self) -> str:
        """Returns the figure as one line for people."""
        goal = "" if self.goal is None else f"  goal {self.goal:g} {self.unit}: {'met' if self.is_met else 'MISSED'}"
        spread = f"({self.least:.3g} to {self.most:.3g})"
        return f"{self.case:<34} {self.metric:<26} {self.value:>8.3g} {self.unit:<10} {spread:<20}{goal}"


def figure_of(
    case: str, metric: str, unit: str, values: Sequence[float], goal: float | None = None, note: str = ""
) -> Figure:
    """Returns the figure of several measurements, at least one."""
    return Figure(case, metric, unit, statistics.median(values), min(values), max(values), goal, note)
