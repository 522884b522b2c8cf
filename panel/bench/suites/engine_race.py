"""Rounds among contenders that each have variants by thread count, and what their rates amount to. Pure.

In the first round every variant is measured. Of a contender whose variants lie far apart only the fastest goes on,
since the anchor is each contender's best; what else the machine does falls on all of them alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..comparison import Comparison, Goal

__all__ = ["Variant", "best_of", "compared", "race"]

_FAR = 0.75
"""Of the best variant's rate; one below it is not measured again."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A contender with a number of threads.

    Attributes:
        name: as results show it.
    """

    name: str
    threads: int

    def __str__(self) -> str:
        return f"{self.name}, {self.threads} thread{'s' if self.threads > 1 else ''}"


Rates = dict[Variant, list[float]]


def race(measures: Mapping[Variant, Callable[[], float]], rounds: int) -> Rates:
    """Returns the rates of every variant, larger ones being better; one for each round in which it ran."""
    found: Rates = {variant: [] for variant in measures}
    running = list(measures)
    for number in range(rounds):
        for variant in running if number % 2 == 0 else reversed(running):
            found[variant].append(measures[variant]())
        if number == 0:
            running = [variant for variant in running if _goes_on(variant, found)]
    return found


def _goes_on(variant: Variant, found: Mapping[Variant, Sequence[float]]) -> bool:
    best = max(rates[0] for other, rates in found.items() if other.name == variant.name)
    return found[variant][0] >= _FAR * best


def best_of(found: Mapping[Variant, Sequence[float]], name: str) -> Variant | None:
    """Returns a contender's fastest variant; None where it has none."""
    variants = [variant for variant in found if variant.name == name]
    return max(variants, key=lambda variant: statistics.median(found[variant]), default=None)


def compared(
    case: str,
    metric: str,
    found: Mapping[Variant, Sequence[float]],
    ours: str,
    *,
    goals: Mapping[str, Goal | None],
    fastest_goal: Goal | None = None,
    note: str = "",
) -> list[Comparison]:
    """Returns our best variant against each peer's, then against the fastest of them, then thread count by count.

    Args:
        found: rates in tokens per second.
        ours: the name of our contender.
        goals: by peer, of the ratio to it.
        note: of our contender.
    """
    own = best_of(found, ours)
    assert own is not None
    words = f"ours with {own.threads} thread{'s' if own.threads > 1 else ''}" + (f"; {note}" if note else "")
    names = list(dict.fromkeys(variant.name for variant in found if variant.name != ours))
    peers = [peer for name in names if (peer := best_of(found, name)) is not None]

    def line(named: str, variant: Variant, peer: Variant, said: str, goal: Goal | None, words: str) -> Comparison:
        return Comparison(named, metric, "tokens/s", found[variant], said, found[peer], goal, words)

    lines = [line(case, own, peer, str(peer), goals.get(peer.name), words) for peer in peers]
    if not peers:
        lines.append(Comparison(case, metric, "tokens/s", found[own], note=words))
    else:
        fastest = max(peers, key=lambda peer: statistics.median(found[peer]))
        lines.append(line(case, own, fastest, f"the fastest peer: {fastest}", fastest_goal, words))
    counts = sorted({variant.threads for variant in found})
    for threads in counts if len(counts) > 1 else []:
        mine = Variant(ours, threads)
        others = [Variant(name, threads) for name in names if Variant(name, threads) in found]
        if mine in found:
            lines += [line(f"{case},threads={threads}", mine, other, other.name, None, note) for other in others]
    return lines
