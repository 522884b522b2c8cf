"""The tables of a step: every token once, every key in a panel, every query with exactly the tokens that it may see."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.native.formats import PANEL
from pdpanel.engine.native.rows import Heads
from pdpanel.engine.native.spans import span_tables

HEADS = Heads(6, 2, 32)
lengths = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 90), st.booleans()), min_size=1, max_size=5)


def spans_of(drawn: list[tuple[int, int, bool]]) -> list[TokenSpan]:
    return [TokenSpan([1] * count, start, 200 * at, logits) for at, (start, count, logits) in enumerate(drawn)]


@given(drawn=lengths, all_states=st.booleans())
def test_each_query_is_computed_once_and_sees_its_own_past(
    drawn: list[tuple[int, int, bool]], all_states: bool
) -> None:
    spans = spans_of(drawn)
    tables = span_tables(spans, HEADS, all_states=all_states)
    sees = [position + 1 for position in tables.positions]
    assert len(tables.ids) == len(tables.places) == len(sees) == sum(len(span.tokens) for span in spans)
    found = [(row, head, seen) for row, _, seen in tables.single for head in range(HEADS.keys)]
    for row, tokens, first, head, _, _ in tables.several:
        found += [(row + at, head, first + at) for at in range(tokens)]
    assert sorted(found) == [(row, head, seen) for row, seen in enumerate(sees) for head in range(HEADS.keys)]
    kept = [(at, head, seen) for at, _, seen in tables.last_single for head in range(HEADS.keys)]
    for at, tokens, first, head, _, _ in tables.last_several:
        kept += [(at + further, head, first + further) for further in range(tokens)]
    expected = [(at, head, sees[row]) for at, row in enumerate(tables.kept) for head in range(HEADS.keys)]
    assert sorted(kept) == expected


@given(drawn=lengths)
def test_turned_keys_cover_every_token_without_overlap(drawn: list[tuple[int, int, bool]]) -> None:
    spans = spans_of(drawn)
    tables = span_tables(spans, HEADS)
    turned = sorted((place, head, token) for head, place, count, _, _ in tables.turn for token in range(count))
    assert len(turned) == HEADS.keys * sum(span.stop for span in spans if len(span.tokens) > 1)
    size = PANEL * HEADS.dim
    used = sorted(place for line in tables.turn for place in line[3:])
    assert all(after - before >= size for before, after in itertools.pairwise(used))
    assert not used or (used[0] >= 0 and used[-1] + size <= tables.turned)


def test_the_states_of_a_chunk_that_is_not_the_last_are_nobodys() -> None:
    tables = span_tables([TokenSpan([1] * 40, 0, 0, False)], HEADS)
    assert (tables.kept, tables.last_single, tables.last_several) == ([], [], [])
