"""Results of the suites as they lie in files of JSON lines: what `pdpanel bench SUITE -o FILE` writes, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError
from .comparison import Goal

__all__ = ["Record", "Results", "parse_goal", "read_results"]


@dataclass(frozen=True, slots=True)
class Record:
    """One figure; the fields are those of `Comparison.line`.

    Attributes:
        least: the smallest of our values.
        most: the largest of them.
        peer: empty where the figure stands alone.
    """

    case: str
    metric: str
    unit: str
    value: float | None
    least: float | None
    most: float | None
    peer: str
    peer_value: float | None
    ratio: float | None
    goal: Goal | None
    met: bool | None
    note: str

    @property
    def judged(self) -> float | None:
        """What is held against the goal."""
        return self.ratio if self.peer else self.value

    @property
    def over_goal(self) -> float | None:
        """How many times as good as the goal it is; 1 just meets it. None without a goal or a value."""
        if self.goal is None or self.judged is None:
            return None
        if self.goal.at_least is not None:
            return self.judged / self.goal.at_least
        assert self.goal.at_most is not None
        return self.goal.at_most / self.judged if self.judged > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class Results:
    """One run of a suite.

    Attributes:
        name: of its file, without the ending.
        machine: as `machine.describe_machine` describes it.
        options: what was asked.
    """

    name: str
    suite: str
    machine: Mapping[str, Any]
    options: Mapping[str, Any]
    records: Sequence[Record]

    @property
    def goals(self) -> list[Record]:
        """The figures that are held against a goal."""
        return [record for record in self.records if record.goal is not None]


def parse_goal(text: str) -> Goal:
    """Returns the goal that `str(goal)` wrote.

    Raises:
        ValueError: it is none.
    """
    sign, _, bound = text.partition(" ")
    if sign == ">=":
        return Goal(at_least=float(bound))
    if sign == "<=":
        return Goal(at_most=float(bound))
    raise ValueError(f"{text!r} is no goal")


def read_results(path: Path) -> Results:
    """Returns what a file holds.

    Raises:
        ConfigError: it cannot be read, or was not written by `pdpanel bench`.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        first, *rest = lines
        records = tuple(_record(line) for line in rest if "metric" in line)
        return Results(path.stem, first["suite"], first["machine"], first.get("options", {}), records)
    except (OSError, ValueError, LookupError, TypeError) as error:
        problem = f"is no file of `pdpanel bench SUITE -o FILE` ({error})"
        raise ConfigError("results", str(path), problem, "run the suite again with -o") from None


def _record(line: Mapping[str, Any]) -> Record:
    goal = line.get("goal")
    return Record(
        case=line["case"],
        metric=line["metric"],
        unit=line["unit"],
        value=line["value"],
        least=line.get("min"),
        most=line.get("max"),
        peer=line.get("peer") or "",
        peer_value=line.get("peer_value"),
        ratio=line.get("ratio"),
        goal=None if goal is None else parse_goal(goal),
        met=line.get("met"),
        note=line.get("note", ""),
    )
