"""What was read before and after the test requests, and the differences that the judgement rests on.

Pure: looks in, differences out. The background of a counter is the median rate between the looks before, times as long
as the requests took; its noise is what the busiest of those spans would have come to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from .host_counters import Count
from .verdict import Difference

__all__ = ["Look", "differences", "moved_by_engine"]


@dataclass(frozen=True, slots=True)
class Look:
    """What was read at one moment.

    Attributes:
        at: seconds that only go forward.
        links: by kind and name.
        engine: KV bytes that the engine has moved so far; None where it does not say.
    """

    at: float
    links: Mapping[str, Count]
    engine: float | None


def differences(looks: Sequence[Look], end: Look) -> tuple[Difference, ...]:
    """Returns what each link's counters did from the last of `looks` to `end`, those that moved most first."""
    found = [_difference(key, looks, end) for key in end.links]
    found.sort(key=lambda one: -max(one.moved or (0.0,)))
    return tuple(found)


def _difference(key: str, looks: Sequence[Look], end: Look) -> Difference:
    count = end.links[key]
    last = looks[-1]
    seconds = end.at - last.at
    totals = [(look.at, one.total) for look in looks if (one := look.links.get(key)) is not None]
    known = [(at, total) for at, total in totals if total is not None]
    before = known[-1][1] if known and known[-1][0] == last.at else None
    background, noise = (0.0, 0.0), 0.0
    if len(known) > 1:
        spans = [
            [max(0.0, new - old) / max(at - then, 1e-9) * seconds for new, old in zip(now, was, strict=True)]
            for (then, was), (at, now) in pairwise(known)
        ]
        background = (median(span[0] for span in spans), median(span[1] for span in spans))
        noise = max(max(span) for span in spans)
    reason = count.reason or ("" if before is not None else "it could not be read before the requests")
    if before is not None and count.total is not None and any(a < b for a, b in zip(count.total, before, strict=True)):
        reason = "it went backwards: it was reset, or its driver was loaded anew"
    return Difference(
        count.kind, count.name, count.source, before, count.total, background, noise, count.fabric, reason
    )


def moved_by_engine(looks: Sequence[Look], end: Look) -> float | None:
    """Returns what the engine moved for the test requests, without what it moved for others by the rate before."""
    first, last = looks[0], looks[-1]
    if first.engine is None or last.engine is None or end.engine is None:
        return None
    if not first.engine <= last.engine <= end.engine:
        return None
    usual = (last.engine - first.engine) / max(last.at - first.at, 1e-9) * (end.at - last.at)
    return max(0.0, end.engine - last.engine - usual)
