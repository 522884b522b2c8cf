"""What was read before and after the test requests, and the differences that the judgement rests on.

Pure: looks in, differences out. The background of a counter is the median rate between the looks before, times as long
as the requests took; its noise is what the busiest of those spans would have come to. KV that the deployment moves for
its own users is no background but evidence: a link that rises and falls with the engine's KV keeps those bytes, and
only what it usually carries beside the KV is taken off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import correlation, fmean, median, pstdev

from .host_counters import Count
from .verdict import Counter, Difference

__all__ = ["EngineKv", "Look", "differences", "moved_by_engine"]

# Below this share of the KV the deployment's own load needs no thought.
_LITTLE = 0.01
# A load that varies less than this says nothing of what follows it.
_STEADY = 0.02
_FOLLOWS = 0.7
# Headers and acknowledgements are no traffic of others.
_HEADERS = 1.1
_ALIKE = (0.7, 1.5)


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


@dataclass(frozen=True, slots=True)
class EngineKv:
    """KV bytes that the engine moved while the requests ran.

    Attributes:
        whole: for the requests and for everybody else.
        own: how much of it was the deployment's own load, by the rate before the requests.
    """

    whole: float
    own: float = 0.0


def differences(looks: Sequence[Look], during: Sequence[Look]) -> tuple[Difference, ...]:
    """Returns what each link's counters did while the requests ran, those that moved most first.

    Args:
        looks: before the requests; the last one is their begin.
        during: after each of them; the last one is the end of the measurement.
    """
    kv = moved_by_engine(looks, during[-1])
    loaded = kv is not None and kv.own > _LITTLE * kv.whole
    following = _following([*looks, *during], looks[-1]) if loaded else frozenset()
    found = [_difference(key, looks, during, key in following) for key in during[-1].links]
    found.sort(key=lambda one: -max(one.moved or (0.0,)))
    return tuple(found)


def moved_by_engine(looks: Sequence[Look], end: Look) -> EngineKv | None:
    """Returns what the engine moved from the last of `looks` to `end`; None where it does not say."""
    first, last = looks[0], looks[-1]
    if first.engine is None or last.engine is None or end.engine is None:
        return None
    if not first.engine <= last.engine <= end.engine:
        return None
    whole = end.engine - last.engine
    usual = (last.engine - first.engine) / max(last.at - first.at, 1e-9) * (end.at - last.at)
    return EngineKv(whole, min(whole, usual))


def _following(looks: Sequence[Look], begin: Look) -> frozenset[str]:
    """Returns the links whose bytes rose and fell with the engine's KV.

    Where none did, since the KV flowed too evenly or in few large pieces, they are those whose kind carried as many
    bytes as the KV has, before the requests and while they ran.
    """
    spans = [(old, new, new.at - old.at) for old, new in pairwise(looks) if new.at > old.at]
    moved = [_rise(old.engine, new.engine) / seconds for old, new, seconds in spans]
    keys = [key for key in looks[-1].links if all((one := look.links.get(key)) and one.total for look in looks)]
    if len(moved) > 2 and pstdev(moved) > _STEADY * fmean(moved):
        together = frozenset(
            key
            for key in keys
            for way in (0, 1)
            if _alike(moved, [_rise(_at(old, key)[way], _at(new, key)[way]) / seconds for old, new, seconds in spans])
        )
        if together:
            return together
    kinds = _as_many(looks[0], begin, keys) & _as_many(begin, looks[-1], keys)
    return frozenset(key for key in keys if looks[-1].links[key].kind in kinds)


def _as_many(old: Look, new: Look, keys: Sequence[str]) -> set[Counter]:
    """Returns the kinds of link that carried about as many bytes as the KV had between two looks."""
    rises: dict[Counter, list[float]] = {}
    for key in keys:
        sums = rises.setdefault(new.links[key].kind, [0.0, 0.0])
        for way in (0, 1):
            sums[way] += _rise(_at(old, key)[way], _at(new, key)[way])
    kv = _rise(old.engine, new.engine)
    return {kind for kind, sums in rises.items() if _ALIKE[0] * kv <= max(sums) <= _ALIKE[1] * kv}


def _alike(moved: Sequence[float], carried: Sequence[float]) -> bool:
    # A count that hardly varies has no correlation that means anything.
    return pstdev(carried) > 1e-6 * max(moved) and correlation(moved, carried) >= _FOLLOWS


def _at(look: Look, key: str) -> tuple[float, float]:
    return look.links[key].total or (0.0, 0.0)


def _rise(old: float | None, new: float | None) -> float:
    return max(0.0, (new or 0.0) - (old or 0.0))


def _beside_kv(looks: Sequence[Look], key: str, seconds: float) -> tuple[float, float]:
    """Returns what a link that carries the KV sent and received beside it in `seconds`."""
    sent, received = (
        median(
            (_at(new, key)[way] - _at(old, key)[way] - _HEADERS * _rise(old.engine, new.engine))
            / max(new.at - old.at, 1e-9)
            for old, new in pairwise(looks)
        )
        for way in (0, 1)
    )
    return max(0.0, sent * seconds), max(0.0, received * seconds)


def _difference(key: str, looks: Sequence[Look], during: Sequence[Look], follows: bool) -> Difference:
    end = during[-1]
    count = end.links[key]
    last = looks[-1]
    seconds = end.at - last.at
    totals = [(look.at, one.total) for look in looks if (one := look.links.get(key)) is not None]
    known = [(at, total) for at, total in totals if total is not None]
    before = known[-1][1] if known and known[-1][0] == last.at else None
    background, noise = (0.0, 0.0), 0.0
    if len(known) > 1 and follows:
        # A transfer across a look counts for the link before it does for the engine; the median does not mind.
        background = _beside_kv([*looks, *during], key, seconds)
        noise = max(background)
    elif len(known) > 1:
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
