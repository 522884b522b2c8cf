"""KV heads between workers that share them out differently: each byte of a grant exactly once, and the right one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pdpanel.engine.pages import Run, Runs
from pdpanel.engine.parallel.layout import part_of
from pdpanel.engine.transfer.heads import Cells, Part, Route, Spot, parts_of, plan_route, routes_of
from pdpanel.engine.transfer.plan import Segment, merge_runs, slice_runs

Spread = tuple[range, ...]


def spread_of(kv_heads: int, ranks: int) -> Spread:
    """The KV heads of each rank of a group, as a worker shares them out."""
    if ranks <= kv_heads:
        return tuple(part_of(kv_heads, ranks, part) for part in range(ranks))
    return tuple(range(head, head + 1) for head in range(kv_heads) for _ in part_of(ranks, kv_heads, head))


@st.composite
def spreads(draw: st.DrawFn, kv_heads: int) -> Spread:
    """Any neighbouring heads for each rank, some of them on several ranks."""
    cuts = sorted(draw(st.sets(st.integers(1, kv_heads - 1)))) if kv_heads > 1 else []
    blocks = [range(start, stop) for start, stop in zip([0, *cuts], [*cuts, kv_heads], strict=True)]
    copies = draw(st.lists(st.integers(1, 3), min_size=len(blocks), max_size=len(blocks)))
    return tuple(block for block, count in zip(blocks, copies, strict=True) for _ in range(count))


@st.composite
def some_runs(draw: st.DrawFn, count: int) -> Runs:
    """`count` distinct pages as runs in any order."""
    cuts = sorted(draw(st.sets(st.integers(1, count - 1), max_size=4))) if count > 1 else []
    runs, page = [], 0
    for size in (stop - start for start, stop in zip([0, *cuts], [*cuts, count], strict=True)):
        page += draw(st.integers(0, 2))
        runs.append(Run(page, size))
        page += size
    return tuple(draw(st.permutations(runs)))


@dataclass(frozen=True)
class Prompt:
    """A prompt's pages on both sides, and the chunks (first page, stop) in which it travels."""

    kv_heads: int
    sources: Spread
    targets: Spread
    staging: Runs
    granted: Runs
    chunks: tuple[tuple[int, int], ...]


@st.composite
def prompts(draw: st.DrawFn) -> Prompt:
    kv_heads, count = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    cuts = sorted(draw(st.sets(st.integers(1, count - 1), max_size=3))) if count > 1 else []
    both = draw(spreads(kv_heads)), draw(spreads(kv_heads))
    runs = draw(some_runs(count)), draw(some_runs(count))
    return Prompt(kv_heads, *both, *runs, tuple(zip([0, *cuts], [*cuts, count], strict=True)))


def pages_of(runs: Runs) -> list[int]:
    return [page for run in runs for page in range(run.start, run.stop)]


def last_page(runs: Runs) -> int:
    return max(run.stop for run in runs)


class Rank:
    """The staging memory of a source rank, one number for each byte, with the bounce memory behind it."""

    def __init__(self, prompt: Prompt, heads: range, cells: Cells, kv: np.ndarray, room: int) -> None:
        self.heads, self.cells = heads, cells
        pages = last_page(prompt.staging)
        self.bounce = pages * len(heads) * cells.head_bytes
        self.memory = np.zeros(self.bounce + room * cells.head_bytes, np.int64)
        staging = self.memory[: self.bounce].reshape(pages, cells.planes, len(heads), cells.size)
        staging[pages_of(prompt.staging)] = kv[:, :, heads.start : heads.stop]
        self.staging = staging

    def gather(self, runs: Runs, heads: range, pages: int, split: int) -> list[Spot]:
        """Stands for the copy into bounce memory: the first `pages` pages, in spots of `split` pages at most."""
        first = heads.start - self.heads.start
        slices = self.staging[pages_of(runs)[:pages], :, first : first + len(heads)].reshape(-1)
        self.memory[self.bounce : self.bounce + len(slices)] = slices
        size = len(heads) * self.cells.head_bytes
        return [Spot(self.bounce + done * size, min(split, pages - done)) for done in range(0, pages, split)]


def read(memory: np.ndarray, prompt: Prompt, target: int, cells: Cells) -> np.ndarray:
    """What the importer finds: [pages, planes, heads, cell], by the layout that the documents describe."""
    parts = parts_of(prompt.sources, prompt.targets, target)
    width = len(prompt.targets[target])
    found: list[np.ndarray] = []
    for run in prompt.granted:
        start = run.start * width * cells.head_bytes
        blocks: list[np.ndarray] = []
        for part in parts:
            shape = (run.count, cells.planes, len(part.heads), cells.size)
            stop = start + int(np.prod(shape))
            blocks.append(memory[start:stop].reshape(shape))
            start = stop
        found.append(np.concatenate(blocks, axis=2))
    return np.concatenate(found)


@settings(max_examples=150)
@example(Prompt(3, spread_of(3, 2), spread_of(3, 1), (Run(0, 3),), (Run(2, 3),), ((0, 2), (2, 3))), 2, 1, 12, 2)
@given(prompts(), st.integers(1, 3), st.integers(1, 3), st.integers(0, 40), st.integers(1, 4))
def test_every_byte_of_a_grant_is_written_once_and_read_back(
    prompt: Prompt, planes: int, size: int, room: int, split: int
) -> None:
    cells = Cells(planes, size)
    count = sum(run.count for run in prompt.granted)
    kv = np.arange(1, count * planes * prompt.kv_heads * size + 1).reshape(count, planes, prompt.kv_heads, size)
    widths = [len(heads) * cells.head_bytes for heads in prompt.targets]
    memories = [np.zeros(last_page(prompt.granted) * width, np.int64) for width in widths]
    written = [np.zeros(len(memory), np.int64) for memory in memories]
    for source, heads in enumerate(prompt.sources):
        rank = Rank(prompt, heads, cells, kv, room)
        for route in routes_of(prompt.sources, prompt.targets, source):
            for first, stop in prompt.chunks:
                staging = slice_runs(prompt.staging, first, stop - first)
                ready = min(stop - first, room // len(route.heads))
                spots = rank.gather(staging, route.heads, ready, split) if route.heads != heads else []
                for s in plan_route(route, heads, staging, prompt.granted, first, cells, spots, max_bytes=20):
                    target = slice(s.target, s.target + s.length)
                    memories[route.target][target] = rank.memory[s.source : s.source + s.length]
                    written[route.target][target] += 1
    for target, heads in enumerate(prompt.targets):
        granted = np.zeros((last_page(prompt.granted), widths[target]), np.int64)
        granted[pages_of(prompt.granted)] = 1
        assert np.array_equal(written[target], granted.reshape(-1))
        assert np.array_equal(read(memories[target], prompt, target, cells), kv[:, :, heads.start : heads.stop])


@given(prompts(), st.integers(1, 3), st.integers(1, 64))
def test_between_equal_layouts_pages_travel_as_they_always_did(prompt: Prompt, planes: int, max_bytes: int) -> None:
    cells = Cells(planes, 2)
    for rank, heads in enumerate(prompt.sources):
        (route,) = routes_of(prompt.sources, prompt.sources, rank)
        assert route == Route(rank, heads, 0, len(heads))
        for first, stop in prompt.chunks:
            staging = slice_runs(prompt.staging, first, stop - first)
            target = slice_runs(prompt.granted, first, stop - first)
            page_bytes = len(heads) * cells.head_bytes
            found = plan_route(route, heads, staging, prompt.granted, first, cells, max_bytes=max_bytes)
            assert found == merge_runs(staging, target, page_bytes, max_bytes=max_bytes)


@given(st.integers(1, 8), st.data())
def test_each_head_has_one_sender_and_copies_share_the_work(kv_heads: int, data: st.DataObject) -> None:
    sources, targets = data.draw(spreads(kv_heads)), data.draw(spreads(kv_heads))
    loads: Counter[tuple[int, int]] = Counter()  # (source, head) -> destination ranks
    for target, heads in enumerate(targets):
        parts = parts_of(sources, targets, target)
        assert [head for part in parts for head in part.heads] == list(heads)
        for part in parts:
            assert set(part.heads) <= set(sources[part.source])
            loads.update((part.source, head) for head in part.heads)
    for head in range(kv_heads):
        each = [loads[source, head] for source, heads in enumerate(sources) if head in heads]
        assert max(each) - min(each) <= 1
    routes = [routes_of(sources, targets, source) for source in range(len(sources))]
    sent = Counter((route.target, head) for mine in routes for route in mine for head in route.heads)
    assert sent == Counter((target, head) for target, heads in enumerate(targets) for head in heads)


@pytest.mark.parametrize(("sources", "targets"), [(1, 2), (2, 1), (3, 1), (1, 3), (2, 3), (2, 4), (4, 2), (3, 8)])
@pytest.mark.parametrize("kv_heads", [1, 3, 4, 8])
def test_unequal_sizes_take_at_most_twice_the_writes(kv_heads: int, sources: int, targets: int) -> None:
    """While there is room to gather slices; counted over all ranks, for a grant in two runs and two chunks."""
    granted, staging, chunks = (Run(5, 6), Run(20, 3)), (Run(1, 9),), ((0, 5), (5, 9))
    cells = Cells(4, 32)

    def writes(left: Spread, right: Spread) -> int:
        total = 0
        for source, heads in enumerate(left):
            for route in routes_of(left, right, source):
                for first, stop in chunks:
                    pages = slice_runs(staging, first, stop - first)
                    spots = [] if route.heads == heads else [Spot(1 << 20, stop - first)]
                    total += len(plan_route(route, heads, pages, granted, first, cells, spots))
        return total

    unequal = writes(spread_of(kv_heads, sources), spread_of(kv_heads, targets))
    larger = spread_of(kv_heads, max(sources, targets))
    assert unequal <= 2 * writes(larger, larger)


def test_what_is_not_gathered_travels_in_rows_of_cells() -> None:
    cells = Cells(2, 10)
    route = Route(0, range(2, 3), 0, 1)
    segments = plan_route(route, range(1, 3), (Run(4, 2),), (Run(7, 3),), 1, cells, [Spot(1000, 1)])
    assert segments == (
        Segment(1000, 160, 20),
        Segment(5 * 40 + 10, 180, 10),
        Segment(5 * 40 + 30, 190, 10),
    )


def test_parts_that_come_from_one_rank_are_one() -> None:
    assert parts_of((range(4),), (range(1), range(1, 4)), 1) == (Part(0, range(1, 4)),)
    assert parts_of((range(2), range(2, 4)), (range(4),), 0) == (Part(0, range(2)), Part(1, range(2, 4)))


def test_a_head_that_nobody_holds_and_a_grant_that_is_too_short_are_refused() -> None:
    with pytest.raises(ValueError, match="KV head 1"):
        parts_of((range(1),), (range(2),), 0)
    with pytest.raises(ValueError, match="outside"):
        plan_route(Route(0, range(1), 0, 1), range(1), (Run(0, 2),), (Run(0, 2),), 1, Cells(1, 1))
