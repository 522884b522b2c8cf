"""What a verdict is made from: the samples of a window, and what must be known of the run besides. A value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .shape import Room, Shape
from .stages import Row

__all__ = ["Evidence"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is judged.

    Attributes:
        rows: samples of the last seconds, oldest first, as (unix time, value by series).
        shape: of the run.
        room: what its host has left.
        limits: by series, the most that it can be, such as a NIC's line rate.
    """

    rows: Sequence[Row]
    shape: Shape
    room: Room = field(default_factory=Room)
    limits: Mapping[str, float] = field(default_factory=dict)

    def mean(self, key: str) -> float | None:
        """Returns the mean of a series over the rows that have it; None when none has."""
        known = [values[key] for _, values in self.rows if key in values]
        return sum(known) / len(known) if known else None
