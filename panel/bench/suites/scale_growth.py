"""Whether a cost grows faster than what it is for: a straight line through smaller cases foretells the next one. Pure.

Called by the `scale` suite with the medians of its rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["beyond_linear", "medians_of", "said_of"]

TOLERANCE = 1.15
"""A cost above the line by more than this share counts: below it lies what rounds differ by."""


def medians_of(values: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """Returns the middle value of each size; sizes ascend."""
    return {size: sorted(values[size])[len(values[size]) // 2] for size in sorted(values)}


def beyond_linear(costs: Mapping[int, float], size: int) -> float | None:
    """Returns the cost of `size` over what a line through two smaller sizes foretells; None with fewer than two.

    The line goes through the smallest size and the one before `size`, so that a fixed cost is no growth. A line that
    falls foretells the cost of the size before: more work never has to cost less.

    Args:
        costs: by size, such as milliseconds by tokens.
        size: one of them.
    """
    smaller = sorted(other for other in costs if other < size)
    if len(smaller) < 2:
        return None
    first, before = smaller[0], smaller[-1]
    slope = max(0.0, (costs[before] - costs[first]) / (before - first))
    foretold = costs[before] + slope * (size - before)
    return costs[size] / foretold if foretold > 0 else None


def said_of(costs: Mapping[int, float], size: int) -> str:
    """Returns in words that the growth up to `size` is more than linear; empty when it is not."""
    factor = beyond_linear(costs, size)
    if factor is None or factor <= TOLERANCE:
        return ""
    return f"more than linear: {factor:.2f} times what a line through smaller sizes foretells"
