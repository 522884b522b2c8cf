"""Lets what a worker said of its queues stand for a moment: on a busy host its answers miss a row now and then.

Without that, rows that have the queues of every worker get rare just when a verdict is wanted. Pure; `look` calls it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from .stages import Row

__all__ = ["HELD_S", "held"]

HELD_S = 1.6
"""Three beats of the sampler: longer than that a worker is silent, and its queues are not known."""


def held(rows: Iterable[Row], gauges: Collection[str]) -> Iterator[Row]:
    """Yields the rows, oldest first, with the last value of each of `gauges` where a row lacks it for a moment."""
    last: dict[str, tuple[float, float]] = {}
    for t, values in rows:
        gone: Mapping[str, float] = {key: old for key, (at, old) in last.items() if t - at <= HELD_S}
        last |= {key: (t, values[key]) for key in gauges if key in values}
        yield t, {**gone, **values}
