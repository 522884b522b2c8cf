"""Rounds among contenders that each have variants by thread count, and what their rates amount to. Pure.

In the first round every variant is measured. Of a contender whose variants lie far apart only the fastest goes on,
since the anchor is each contender's best; and a peer that no goal names goes on only where it can be the fastest one.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ..comparison import Comparison, Goal

__all__ = ["Variant", "best_of", "compared", "race"]

_FAR, _HOPELESS = 0.75, 0.5
"""Shares of the rate of a contender's best variant, and of the fastest peer's: what is below is not measured again."""


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


def race(
    measures: Mapping[Variant, Callable[[], float]], rounds: int, peers: Collection[str] = (), named: str = ""
) -> Rates:
    """Returns the rates of every variant, larger ones being better; one for each round in which it ran.

    Args:
        peers: contenders of which the fastest is an anchor.
        named: the peer among them that runs in every round.
    """
    found: Rates = {variant: [] for variant in measures}
    running = list(measures)
    for number in range(rounds):
        for variant in running if number % 2 == 0 else reversed(running):
            found[variant].append(measures[variant]())
        if number == 0:
            fastest = max((rates[0] for variant, rates in found.items() if variant.name in peers), default=0.0)
            hopeless = {name for name in peers if name != named and _best(found, name) < _HOPELESS * fastest}
            running = [
                variant
                for variant in running
                if variant.name not in hopeless and found[variant][0] >= _FAR * _best(found, variant.name)
            ]
    return found


def _best(found: Mapping[Variant, Sequence[float]], name: str) -> float:
    """Returns the first rate of a contender's best variant."""
    return max((rates[0] for variant, rates in found.items() if variant.name == name), default=0.0)


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
