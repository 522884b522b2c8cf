"""Whether a cost grows faster than what it is for: smaller cases foretell the next one. Pure.

What has a fixed part, such as a step by its context, goes on along a line. What is free up to some size, such as a
batch while reading the weights takes longer than computing, may turn upwards, but not cost more for each of more.
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


def beyond_linear(costs: Mapping[int, float], size: int, *, line: bool = True) -> float | None:
    """Returns the cost of `size` over what smaller sizes foretell; None with too few of them.

    Args:
        costs: by size, such as milliseconds by tokens.
        size: one of them.
        line: whether a line through the smallest size and the one before `size` foretells, so that a fixed cost is no
            growth; one that falls foretells the cost of the size before. Else it is the lowest cost for each of a
            smaller size that does.
    """
    smaller = sorted(other for other in costs if other < size)
    if len(smaller) < (2 if line else 1):
        return None
    first, before = smaller[0], smaller[-1]
    if line:
        slope = max(0.0, (costs[before] - costs[first]) / (before - first))
        foretold = costs[before] + slope * (size - before)
    else:
        foretold = size * min(costs[other] / other for other in smaller)
    return costs[size] / foretold if foretold > 0 else None


def said_of(costs: Mapping[int, float], size: int, *, line: bool = True) -> str:
    """Returns in words that the growth up to `size` is more than linear; empty when it is not. See `beyond_linear`."""
    factor = beyond_linear(costs, size, line=line)
    if factor is None or factor <= TOLERANCE:
        return ""
    than = "what a line through smaller sizes foretells" if line else "what it takes for each of fewer"
    return f"more than linear: {factor:.2f} times {than}"
