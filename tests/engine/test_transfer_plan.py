"""The transfer plan: every byte of the target exactly once, from its own page of the source, in few segments."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.pages import Run, Runs
from pdpanel.engine.transfer.plan import Segment, merge_runs, outside, slice_runs


def pages_of(runs: Runs) -> list[int]:
    return [page for run in runs for page in range(run.start, run.stop)]


@st.composite
def some_runs(draw: st.DrawFn, count: int, total: int = 64) -> Runs:
    """`count` distinct pages of `total` as runs in any order; neighbours are not always joined."""
    cuts = sorted(draw(st.sets(st.integers(1, count - 1), max_size=6))) if count > 1 else []
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, count], strict=True)]
    gaps = draw(st.lists(st.integers(0, 2), min_size=len(sizes), max_size=len(sizes)))
    runs, page = [], 0
    for size, gap in zip(sizes, gaps, strict=True):
        runs.append(Run(page + gap, size))
        page += gap + size
    assert page <= total
    return tuple(draw(st.permutations(runs)))


@st.composite
def chunked_prompts(draw: st.DrawFn) -> tuple[Runs, Runs, list[tuple[int, int]]]:
    """Source and target runs of one prompt, and the chunks of pages in which it travels."""
    count = draw(st.integers(1, 40))
    cuts = sorted(draw(st.sets(st.integers(1, count - 1), max_size=5))) if count > 1 else []
    chunks = list(zip([0, *cuts], [*cuts, count], strict=True))
    return draw(some_runs(count)), draw(some_runs(count)), chunks


@given(chunked_prompts(), st.integers(1, 8), st.integers(1, 64))
def test_all_chunks_together_cover_each_target_byte_once(
    prompt: tuple[Runs, Runs, list[tuple[int, int]]], page_bytes: int, max_bytes: int
) -> None:
    source, target, chunks = prompt
    written: dict[int, int] = {}
    for first, stop in chunks:
        a, b = slice_runs(source, first, stop - first), slice_runs(target, first, stop - first)
        for segment in merge_runs(a, b, page_bytes, max_bytes=max_bytes):
            assert segment.length <= max(max_bytes, page_bytes)
            for i in range(segment.length):
                assert segment.target + i not in written
                written[segment.target + i] = segment.source + i
    expected = {
        to * page_bytes + i: page * page_bytes + i
        for page, to in zip(pages_of(source), pages_of(target), strict=True)
        for i in range(page_bytes)
    }
    assert written == expected


@given(chunked_prompts())
def test_neighbouring_segments_break_where_a_side_breaks(
    prompt: tuple[Runs, Runs, list[tuple[int, int]]],
) -> None:
    source, target, _ = prompt
    segments = merge_runs(source, target, 3)
    for a, b in pairwise(segments):
        assert a.source + a.length != b.source or a.target + a.length != b.target


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 60), st.integers(1, 60))
def test_one_run_on_both_sides_is_one_segment_a_chunk(a: int, b: int, count: int, chunk: int) -> None:
    source, target = (Run(a, count),), (Run(b, count),)
    for first in range(0, count, chunk):
        pages = min(chunk, count - first)
        pair = slice_runs(source, first, pages), slice_runs(target, first, pages)
        assert merge_runs(*pair, 16) == (Segment((a + first) * 16, (b + first) * 16, pages * 16),)


@given(st.data(), st.integers(1, 40))
def test_a_slice_is_those_pages_in_order(data: st.DataObject, count: int) -> None:
    runs = data.draw(some_runs(count))
    first = data.draw(st.integers(0, count))
    size = data.draw(st.integers(0, count - first))
    assert pages_of(slice_runs(runs, first, size)) == pages_of(runs)[first : first + size]


def test_a_long_run_is_cut_at_whole_pages() -> None:
    segments = merge_runs((Run(0, 7),), (Run(10, 7),), 100, max_bytes=350)
    assert segments == (Segment(0, 1000, 300), Segment(300, 1300, 300), Segment(600, 1600, 100))


def test_a_page_larger_than_the_bound_travels_whole() -> None:
    assert merge_runs((Run(1, 2),), (Run(0, 2),), 8, max_bytes=3) == (Segment(8, 0, 8), Segment(16, 8, 8))


def test_unequal_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="different numbers"):
        merge_runs((Run(0, 2),), (Run(0, 3),), 8)


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        (Segment(0, 0, 10), ""),
        (Segment(10, 20, 0), ""),
        (Segment(1, 0, 10), "registered source of 10"),
        (Segment(-1, 0, 5), "registered source"),
        (Segment(0, 0, -1), "registered source"),
        (Segment(0, 15, 6), "region of 20"),
        (Segment(0, -2, 6), "the peer's region"),
    ],
)
def test_what_lies_outside_is_named(segment: Segment, said: str) -> None:
    found = outside([Segment(0, 0, 1), segment], 10, 20)
    assert said in found
    assert bool(found) is bool(said)
