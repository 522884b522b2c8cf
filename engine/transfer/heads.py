"""From KV heads that two workers share out differently to the writes that carry them. Pure.

A page on a rank is [layer][K|V][head][token][dim] with the heads of that rank alone. Each rank of the destination gets
each of its heads from one rank of the source, by a rule that both sides compute for themselves. On the destination each
run of granted pages is divided by source: one block for each part in order of heads, in which all pages of the run
follow one another. So a source writes one segment for a run. With one source that is the layout of `plan`, whose
`merge_runs` is then the same. `parallel.carrier` plans writes with it, and the importer finds the parts again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..pages import Runs
from .plan import Segment, slice_runs

__all__ = ["Cells", "Part", "Route", "Spot", "carry", "parts_of", "plan_route", "routes_of", "spots_of"]


@dataclass(frozen=True, slots=True)
class Cells:
    """What a page consists of: a cell for each plane (layer, K or V) and head.

    Attributes:
        planes: two for each layer.
        size: bytes of one cell: the tokens of a page.
    """

    planes: int
    size: int

    @property
    def head_bytes(self) -> int:
        """Bytes of one head of one page, all layers."""
        return self.planes * self.size


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring heads that a destination rank gets from one rank of the source's group."""

    source: int
    heads: range


@dataclass(frozen=True, slots=True)
class Route:
    """What one source rank sends to one destination rank.

    Attributes:
        target: the rank of the destination's group.
        heads: that are sent.
        before: how many heads of the destination come before them, from wherever.
        width: how many heads the destination has.
    """

    target: int
    heads: range
    before: int
    width: int

    def spots(self, granted: Runs, first: int, count: int, head_bytes: int) -> Iterator[Spot]:
        """Yields where pages [first, first + count) of a grant lie in the destination rank's region."""
        for run in granted:
            start, stop = max(first, 0), min(first + count, run.count)
            if start < stop:
                heads = run.start * self.width + run.count * self.before + start * len(self.heads)
                yield Spot(heads * head_bytes, stop - start)
            first -= run.count


@dataclass(frozen=True, slots=True)
class Spot:
    """`pages` pages, or parts of pages, that follow one another from a byte of a region on."""

    offset: int
    pages: int


def _senders(sources: Sequence[range], targets: Sequence[range]) -> list[dict[int, int]]:
    """Returns for each target the source of each of its heads.

    Sources that hold the same head share its targets evenly, in order; between equal layouts each rank sends to its
    like.

    Raises:
        ValueError: nobody holds a head that a target needs.
    """
    holders: dict[int, list[int]] = {}
    takers: dict[int, list[int]] = {}
    for ranks, found in ((sources, holders), (targets, takers)):
        for rank, heads in enumerate(ranks):
            for head in heads:
                found.setdefault(head, []).append(rank)
    senders: list[dict[int, int]] = [{} for _ in targets]
    for head, ranks in takers.items():
        if head not in holders:
            raise ValueError(f"no rank of the source holds KV head {head}")
        for place, target in enumerate(ranks):
            senders[target][head] = holders[head][place * len(holders[head]) // len(ranks)]
    return senders


def _parts(heads: range, senders: dict[int, int]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for head in heads:
        source, start = senders[head], head
        if parts and parts[-1].source == source:
            start = parts.pop().heads.start
        parts.append(Part(source, range(start, head + 1)))
    return tuple(parts)


def parts_of(sources: Sequence[range], targets: Sequence[range], target: int) -> tuple[Part, ...]:
    """Returns how the heads of one destination rank are divided by source, in order of heads.

    Args:
        sources: KV heads of each rank of the source's group.
        targets: KV heads of each rank of the destination's group.
    """
    return _parts(targets[target], _senders(sources, targets)[target])


def routes_of(sources: Sequence[range], targets: Sequence[range], source: int) -> tuple[Route, ...]:
    """Returns what one source rank sends, by destination rank and head; see `parts_of`."""
    routes: list[Route] = []
    for target, senders in enumerate(_senders(sources, targets)):
        before = 0
        for part in _parts(targets[target], senders):
            if part.source == source:
                routes.append(Route(target, part.heads, before, len(targets[target])))
            before += len(part.heads)
    return tuple(routes)


def spots_of(runs: Runs, page_bytes: int) -> Iterator[Spot]:
    """Yields where whole pages lie in their region."""
    return (Spot(run.start * page_bytes, run.count) for run in runs)


def _pairs(source: Iterable[Spot], target: Iterable[Spot], step: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Yields (source offset, target offset, pages), split where either side stops being consecutive.

    Args:
        step: bytes from one page to the next on the source's side.
        stride: the same on the target's.
    """
    left, right = iter(source), iter(target)
    a, b = next(left, None), next(right, None)
    while a is not None and b is not None:
        count = min(a.pages, b.pages)
        yield a.offset, b.offset, count
        a = Spot(a.offset + count * step, a.pages - count) if a.pages > count else next(left, None)
        b = Spot(b.offset + count * stride, b.pages - count) if b.pages > count else next(right, None)


def carry(source: Iterable[Spot], target: Iterable[Spot], page_bytes: int, max_bytes: int) -> Iterator[Segment]:
    """Yields the writes that carry page i of `source` to page i of `target`, as `plan.merge_runs` does."""
    most = max(1, max_bytes // page_bytes)
    start = goal = length = 0
    for a, b, count in _pairs(source, target, page_bytes, page_bytes):
        if length and start + length * page_bytes == a and goal + length * page_bytes == b:
            length += count
            continue
        yield from _cut(start, goal, length, page_bytes, most)
        start, goal, length = a, b, count
    yield from _cut(start, goal, length, page_bytes, most)


def _cut(start: int, goal: int, pages: int, page_bytes: int, most: int) -> Iterator[Segment]:
    for done in range(0, pages, most):
        place = done * page_bytes
        yield Segment(start + place, goal + place, min(most, pages - done) * page_bytes)


def plan_route(
    route: Route,
    own: range,
    staging: Runs,
    granted: Runs,
    first: int,
    cells: Cells,
    bounced: Sequence[Spot] = (),
    *,
    max_bytes: int = 1 << 30,
) -> tuple[Segment, ...]:
    """Plans the writes of one source rank to one destination rank.

    Args:
        own: the source rank's heads.
        staging: pages of the source rank.
        granted: the whole grant, which `staging` is `first` pages on in.
        bounced: where the first pages stand with the route's heads alone, gathered; what has no place there is
            written from the pages themselves, a cell row at a time. Of no use to a route that takes all heads.
        max_bytes: of one segment, as in `merge_runs`.

    Returns:
        segments in order of pages.

    Raises:
        ValueError: the grant ends before the pages do.
    """
    count = sum(run.count for run in staging)
    if first < 0 or first + count > sum(run.count for run in granted):
        raise ValueError(f"{count} pages from page {first} on lie outside of {granted}")
    size = cells.head_bytes
    page_bytes, part_bytes = len(own) * size, len(route.heads) * size
    if route.heads == own:
        target = route.spots(granted, first, count, size)
        return tuple(carry(spots_of(staging, page_bytes), target, page_bytes, max_bytes))
    ready = sum(spot.pages for spot in bounced)
    segments = [*carry(bounced, route.spots(granted, first, ready, size), part_bytes, max_bytes)]
    source = spots_of(slice_runs(staging, ready, count - ready), page_bytes)
    target = route.spots(granted, first + ready, count - ready, size)
    row, piece = len(own) * cells.size, len(route.heads) * cells.size
    skipped = (route.heads.start - own.start) * cells.size
    for start, goal, pages in _pairs(source, target, page_bytes, part_bytes):
        for page in range(pages):
            begin, end = start + page * page_bytes + skipped, goal + page * part_bytes
            segments += (Segment(begin + p * row, end + p * piece, piece) for p in range(cells.planes))
    return tuple(segments)
