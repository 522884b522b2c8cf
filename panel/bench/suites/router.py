"""`pdpanel bench router`: the bundled router against sglang-router and smg, before the same stand-in workers.

The stand-ins answer at once and send tokens at a fixed pace, so that what is seen is the router's: the time that it
adds to the first token, streams per second, CPU for each stream, and memory with many streams open. All routers run at
the same time, and the load goes to one after the other in each round. A direct run on the stand-in shows what load
client and stand-ins can do at most.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..comparison import Comparison, Goal
from ..suite import SuiteOptions
from .router_processes import OURS, PEERS, Fleet, LoadResult, fleet, is_installed

if TYPE_CHECKING:
    from ...runs import Runs

__all__ = ["measure", "throughput"]

_Tell = Callable[[str], None]
_DIRECT = "direct"
_JUDGED = 64
_STREAMS = (1, 16, 64, 256)
_TOKENS = 32
# Whole answers at once show what a request costs; a token of each stream every 10 ms is what a batch of decode does.
_PACES_MS = (0.0, 10.0)
_OPEN_STREAMS = 1024
_OPEN_PACE_MS = 250.0
_OPEN_TOKENS = 400
_RSS_GOAL_MB = 200.0


@dataclass(frozen=True, slots=True)
class _Size:
    """How much is measured."""

    streams: Sequence[int] = _STREAMS
    paces_ms: Sequence[float] = _PACES_MS
    seconds: float = 2.0
    warm_s: float = 0.5
    open_streams: int = _OPEN_STREAMS
    open_pace_ms: float = _OPEN_PACE_MS
    rounds: int = 1


_SHORT = _Size(streams=(2,), paces_ms=(10.0,), seconds=0.5, warm_s=0.1, open_streams=8, open_pace_ms=10.0)


def measure(options: SuiteOptions, runs: Runs, tell: _Tell) -> Iterator[Comparison]:
    """Yields the figures of each load as its rounds are done.

    Raises:
        PeerError: a router does not come up, or loses streams.
    """
    size = _SHORT if options.short else _Size(rounds=options.rounds)
    names = [OURS]
    for name, (package, _) in PEERS.items():
        if is_installed(name):
            names.append(name)
        else:
            tell(f"{name} is not installed and is left out: pip install {package}")
    opened = f"open={size.open_streams}"
    for pace_ms in sorted({*size.paces_ms, size.open_pace_ms}):
        loads = [(f"streams={streams},pace={pace_ms:g}ms,tokens={_TOKENS}", streams) for streams in size.streams]
        wanted = [load for load in loads if options.wants(load[0]) and pace_ms in size.paces_ms]
        is_memory_wanted = options.wants(opened) and pace_ms == size.open_pace_ms
        if not wanted and not is_memory_wanted:
            continue
        with fleet(names, pace_ms) as made:
            for case, streams in wanted:
                yield from throughput(case, _rounds(made, streams, size, tell, case), paced=pace_ms > 0)
            if is_memory_wanted:
                yield from _memory(opened, made, size.open_streams)


def _rounds(made: Fleet, streams: int, size: _Size, tell: _Tell, case: str) -> dict[str, list[LoadResult]]:
    """Loads each router, and the stand-in itself, once in each round, in an order that turns."""
    targets = {_DIRECT: made.direct, **made.routers}
    found: dict[str, list[LoadResult]] = {name: [] for name in targets}
    names = list(targets)
    for number in range(size.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(targets[name].load(streams, _TOKENS, size.seconds, size.warm_s))
        shown = ", ".join(f"{name} {results[-1].streams_per_s:.0f}/s" for name, results in found.items())
        tell(f"{case}, round {number + 1}: {shown}")
    return found


def throughput(case: str, found: dict[str, list[LoadResult]], *, paced: bool) -> Iterator[Comparison]:
    """Yields the figures of one load, of each router and of `direct`, the stand-in itself.

    The time to the first token is told of paced answers alone: whole ones at once make it a queue's length.
    """
    is_judged = case.startswith(f"streams={_JUDGED},")
    routers = {name: results for name, results in found.items() if name != _DIRECT}
    direct = found[_DIRECT]
    busy = sum(result.client_cpu_s for result in direct) / sum(result.seconds for result in direct)
    speed = {name: [result.streams_per_s for result in results] for name, results in routers.items()}
    ceiling = f"direct {max(r.streams_per_s for r in direct):.0f}/s, where the client takes {busy:.0%} of a core"
    yield from _against(case, "streams_per_s", "1/s", speed, Goal(at_least=1.0) if is_judged else None, ceiling)
    if paced:
        added = {
            name: [1000 * (own.ttft_s - base.ttft_s) for own, base in zip(results, direct, strict=True)]
            for name, results in routers.items()
        }
        yield from _against(case, "added_ttft_ms", "ms", added, Goal(at_most=1.0) if is_judged else None)
    spent = {name: [1000 * r.router_cpu_s / r.ended for r in results] for name, results in routers.items()}
    yield from _against(case, "cpu_ms_per_stream", "ms", spent)


def _memory(case: str, made: Fleet, streams: int) -> Iterator[Comparison]:
    found: dict[str, float] = {}
    for name, router in made.routers.items():
        with router.holding(streams, _OPEN_TOKENS):
            found[name] = router.rss_mb()
    note = ", ".join(f"{name} {mb:.0f} MB" for name, mb in found.items() if name != OURS)
    yield Comparison(case, "router_rss_mb", "MB", [found[OURS]], goal=Goal(at_most=_RSS_GOAL_MB), note=note)


def _against(
    case: str, metric: str, unit: str, found: dict[str, list[float]], goal: Goal | None = None, note: str = ""
) -> Iterator[Comparison]:
    """Yields ours against each peer; a goal is held against the better one, by its median."""
    peers = {name: values for name, values in found.items() if name != OURS}
    if not peers:
        yield Comparison(case, metric, unit, found[OURS], note=note)
        return
    best = max if goal is not None and goal.at_least is not None else min
    fastest = best(peers, key=lambda name: statistics.median(peers[name]))
    for name, values in peers.items():
        yield Comparison(case, metric, unit, found[OURS], name, values, goal if name == fastest else None, note)
