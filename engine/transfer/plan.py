"""From page runs on two sides to the fewest writes. Pure; `api.Segment` is what transports take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..pages import Run, Runs

__all__ = ["Segment", "merge_runs", "outside", "slice_runs"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One write: `length` bytes from the registered source region to the registered target region.

    Attributes:
        source: byte offset in the writer's region.
        target: byte offset in the peer's region.
    """

    source: int
    target: int
    length: int


def slice_runs(runs: Iterable[Run], first: int, count: int) -> Runs:
    """Returns pages [first, first + count) of the sequence of pages that `runs` spell out."""
    result: list[Run] = []
    for run in runs:
        start, stop = max(first, 0), min(first + count, run.count)
        if start < stop:
            result.append(Run(run.start + start, stop - start))
        first -= run.count
    return tuple(result)


def _pieces(source: Runs, target: Runs) -> Iterator[tuple[int, int, int]]:
    """Yields (source page, target page, pages), split where either side stops being consecutive."""
    left, right = list(reversed(source)), list(reversed(target))
    while left and right:
        a, b = left.pop(), right.pop()
        count = min(a.count, b.count)
        yield a.start, b.start, count
        if a.count > count:
            left.append(Run(a.start + count, a.count - count))
        if b.count > count:
            right.append(Run(b.start + count, b.count - count))


def merge_runs(source: Runs, target: Runs, page_bytes: int, *, max_bytes: int = 1 << 30) -> tuple[Segment, ...]:
    """Plans the writes that carry page i of `source` to page i of `target`.

    Args:
        source: the pages in the writer's region.
        target: the pages in the peer's region.
        page_bytes: bytes of one page on both sides.
        max_bytes: of one segment; bounds a single call into a transport (SGLang bounds a batch at 1 GiB,
            sglang#32758).

    Returns:
        segments in order; neighbours that are consecutive on both sides are one.

    Raises:
        ValueError: the two sides hold different numbers of pages.
    """
    if sum(run.count for run in source) != sum(run.count for run in target):
        raise ValueError(f"{source} and {target} hold different numbers of pages")
    most = max(1, max_bytes // page_bytes)
    merged: list[tuple[int, int, int]] = []
    for start, goal, count in _pieces(source, target):
        if merged and merged[-1][0] + merged[-1][2] == start and merged[-1][1] + merged[-1][2] == goal:
            start, goal, before = merged.pop()
            count += before
        merged.append((start, goal, count))
    return tuple(
        Segment((start + done) * page_bytes, (goal + done) * page_bytes, min(most, count - done) * page_bytes)
        for start, goal, count in merged
        for done in range(0, count, most)
    )


def outside(segments: Iterable[Segment], source_bytes: int, target_bytes: int) -> str:
    """Returns which segment leaves the registered source or the peer's region, in words; empty when none does."""
    for segment in segments:
        if segment.length < 0 or segment.source < 0 or segment.source + segment.length > source_bytes:
            return f"{segment} lies outside of the registered source of {source_bytes} bytes"
        if segment.target < 0 or segment.target + segment.length > target_bytes:
            return f"{segment} lies outside of the peer's region of {target_bytes} bytes"
    return ""
