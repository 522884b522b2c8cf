"""Histograms that cost next to nothing to add to: a request adds to four of them.

`prometheus_client`'s own take a lock and walk their buckets for each value; the router has one thread. Read by
`metrics` as the same Prometheus text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

__all__ = ["Distribution", "Distributions"]


class Distribution:
    """How many values lie up to each bound.

    Args:
        bounds: upper bounds, rising; the one without an end is added.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Adds a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Returns each bound with the number of values up to it."""
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True))

    @property
    def sum(self) -> float:
        """All values together."""
        return self._sum


class Distributions(Collector):
    """One metric: a distribution, or several told apart by a label.

    Args:
        parts: by the label's value.
        label: empty for a single one.
    """

    def __init__(self, name: str, text: str, parts: Mapping[str, Distribution], *, label: str = "") -> None:
        self._name = name
        self._text = text
        self._parts = parts
        self._label = label

    def collect(self) -> Iterator[Metric]:
        """Yields the metric as it is now."""
        family = HistogramMetricFamily(self._name, self._text, labels=(self._label,) if self._label else ())
        for value, part in self._parts.items():
            family.add_metric((value,) if self._label else (), part.buckets(), part.sum)
        yield family
