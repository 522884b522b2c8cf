"""Percentiles and means of measured times.

Pure. A percentile lies between the two nearest ranks, in a straight line, as numpy's default has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum

__all__ = ["CURVE_POINTS", "Spread", "curve", "quantile", "spread"]

CURVE_POINTS = 101


@dataclass(frozen=True, slots=True)
class Spread:
    """How a measured time is spread, in s."""

    mean: float
    p50: float
    p90: float
    p99: float
    largest: float


def quantile(ordered: Sequence[float], part: float) -> float:
    """Returns the value below which the share `part` (0 to 1) of the ordered, non-empty values lies."""
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    share = place - below
    # Both ends are given their weight: a difference of them could overflow or lie outside.
    return ordered[below] if share == 0 else ordered[below] * (1 - share) + ordered[above] * share


def spread(values: Iterable[float]) -> Spread | None:
    """Returns the spread of some values in any order, None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    p50, p90, p99 = (quantile(ordered, part) for part in (0.5, 0.9, 0.99))
    return Spread(fsum(ordered) / len(ordered), p50, p90, p99, ordered[-1])


def curve(values: Iterable[float]) -> tuple[float, ...]:
    """Returns the 0th to the 100th percentile, from which a distribution is drawn; empty of no values."""
    ordered = sorted(values)
    if not ordered:
        return ()
    return tuple(quantile(ordered, number / (CURVE_POINTS - 1)) for number in range(CURVE_POINTS))
