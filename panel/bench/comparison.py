"""What a suite of `pdpanel bench` found: a figure of ours beside a peer's, from the same interleaved rounds. Pure.

A `Figure` is held against a goal of its own; a `Comparison` against what a peer did in the same run, since absolute
times mean little on a machine that others use as well.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Comparison", "Goal", "compare", "interleave"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio, or a value where there is no peer, is wanted to be; exactly one bound is set."""

    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, value: float) -> bool:
        """Returns whether `value` reaches the goal."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measured figure.

    Attributes:
        case: the circumstances as `key=value` joined by commas, such as `prompt=1024,load=50`.
        values: ours, one for each round, at least one.
        peer: whose figures `peer_values` are; empty where a figure stands alone.
        goal: of the ratio to the peer, or of the value where there is no peer.
        note: what a reader must know, such as the limit that stops it where it falls short; empty for nothing.
    """

    case: str
    metric: str
    unit: str
    values: Sequence[float]
    peer: str = ""
    peer_values: Sequence[float] = field(default_factory=tuple)
    goal: Goal | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """The median of ours."""
        return statistics.median(self.values)

    @property
    def peer_value(self) -> float | None:
        """The median of the peer's; None without one."""
        return statistics.median(self.peer_values) if self.peer_values else None

    @property
    def ratio(self) -> float | None:
        """Our median over the peer's; None without a peer, or where the peer's is 0."""
        return self.value / peer if (peer := self.peer_value) else None

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is reached; None without a goal or where it cannot be judged."""
        judged = self.ratio if self.peer else self.value
        return None if self.goal is None or judged is None else self.goal.is_met(judged)

    def line(self, suite: str) -> dict[str, object]:
        """Returns the figure as a JSON line shows it."""
        line: dict[str, object] = {
            "suite": suite,
            "case": self.case,
            "metric": self.metric,
            "value": _rounded(self.value),
            "unit": self.unit,
            "peer": self.peer or None,
            "peer_value": _rounded(self.peer_value),
            "ratio": _rounded(self.ratio),
            "min": _rounded(min(self.values)),
            "max": _rounded(max(self.values)),
            "rounds": len(self.values),
        }
        if self.peer_values:
            line |= {"peer_min": _rounded(min(self.peer_values)), "peer_max": _rounded(max(self.peer_values))}
        if self.goal is not None:
            line |= {"goal": str(self.goal), "met": self.is_met}
        return {**line, "note": self.note} if self.note else line

    def text(self) -> str:
        """Returns the figure as one line for people."""
        peer = f"{self.peer} {self.peer_value:.4g}" if self.peer_value is not None else ""
        ratio = f"x{self.ratio:.2f}" if self.ratio is not None else ""
        goal = "" if self.goal is None else f"goal {self.goal}: {'met' if self.is_met else 'MISSED'}"
        shown = f"{self.case:<34} {self.metric:<26} {self.value:>9.4g} {self.unit:<10} {peer:<36} {ratio:<8} {goal}"
        return shown.rstrip()


def _rounded(value: float | None) -> float | None:
    """Returns four significant digits; JSON has no NaN and no infinity."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None


def interleave(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Calls every measure once in each round, in an order that turns from round to round; returns their values.

    What else the machine does falls on all of them alike.
    """
    found: dict[str, list[float]] = {name: [] for name in measures}
    names = list(measures)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(measures[name]())
    return found


def compare(
    case: str, metric: str, unit: str, found: Mapping[str, Sequence[float]], ours: str, *, goal: Goal | None = None
) -> list[Comparison]:
    """Returns ours against each other entry of `found`; the goal goes with each."""
    peers = [name for name in found if name != ours]
    return [Comparison(case, metric, unit, found[ours], peer, found[peer], goal) for peer in peers]
