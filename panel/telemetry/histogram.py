"""A histogram as Prometheus has it, what was observed between two of them, and the quantiles of that.

Pure values; knows no metric's name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Histogram", "merged"]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations by size.

    Attributes:
        bounds: upper bounds, rising, the last one infinite.
        counts: observations up to each bound, cumulative.
        total: the sum of all observations.
    """

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    total: float

    @property
    def count(self) -> float:
        """How much was observed."""
        return self.counts[-1] if self.counts else 0.0

    def since(self, before: Histogram) -> Histogram | None:
        """Returns what was observed after `before`, None if its program was started anew in between."""
        if before.bounds != self.bounds:
            return None
        counts = tuple(new - old for new, old in zip(self.counts, before.counts, strict=True))
        if any(count < 0 for count in counts):
            return None
        # Cumulative counts never fall; a page taken while it was written may look so for an instant.
        rising = tuple(max(counts[: index + 1]) for index in range(len(counts)))
        return Histogram(self.bounds, rising, max(0.0, self.total - before.total))

    def quantile(self, share: float) -> float | None:
        """Returns the value that a `share` (0 to 1) of the observations do not exceed, linear within a bucket.

        None when nothing was observed. Above the last finite bound nothing is known but that bound.
        """
        if self.count <= 0:
            return None
        rank = share * self.count
        below, lower = 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count >= rank and count > below:
                if math.isinf(bound):
                    return lower
                start = min(lower, bound) if lower or bound > 0 else bound
                return start + (bound - start) * max(0.0, rank - below) / (count - below)
            below, lower = count, bound
        return lower if math.isfinite(lower) else None

    def mean(self) -> float | None:
        """Returns the mean of the observations, None without any."""
        return self.total / self.count if self.count > 0 else None

    def share_above(self, bound: float) -> float | None:
        """Returns the share of the observations above one of the bounds, None without any or for another value."""
        if bound not in self.bounds or self.count <= 0:
            return None
        return 1.0 - self.counts[self.bounds.index(bound)] / self.count

    def scaled(self, factor: float) -> Histogram:
        """Returns the same in another unit."""
        if factor == 1.0:
            return self
        return Histogram(tuple(bound * factor for bound in self.bounds), self.counts, self.total * factor)


def merged(histograms: Iterable[Histogram]) -> Histogram | None:
    """Returns all observations together; of those whose bounds differ, the ones that most of them share.

    None without any.
    """
    by_bounds: dict[tuple[float, ...], Histogram] = {}
    for one in histograms:
        known = by_bounds.get(one.bounds)
        if known is None:
            by_bounds[one.bounds] = one
        else:
            counts = tuple(a + b for a, b in zip(known.counts, one.counts, strict=True))
            by_bounds[one.bounds] = Histogram(one.bounds, counts, known.total + one.total)
    return max(by_bounds.values(), key=lambda histogram: histogram.count, default=None)
