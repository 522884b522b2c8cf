"""The tables that the attention kernels read: which sequence, where its KV lies, what a tile works on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..model.executor import TokenSpan
from .attention import query_tokens
from .formats import PANEL
from .rows import Heads

__all__ = ["SpanTables", "Turns", "span_tables"]

Lines = list[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Turns:
    """Where the turned keys and values of a sequence stand: offsets in floats, one pair for each key head."""

    span: TokenSpan
    places: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class SpanTables:
    """A step's tables.

    Attributes:
        ids: token ids, those of decoding spans first, else in the order of the spans.
        positions: of the tokens.
        places: token indices in the slots.
        kept: rows whose states go through the whole of the last layer.
        order: numbers in `kept` in the order of the spans.
        wanted: numbers in `kept` of the rows whose logits are wanted, in the order of the spans.
        single: [row, first place, tokens] of each decoding span; they are the first rows.
        turn: [head, first place, tokens, offset of the keys, offset of the values]; offsets in floats.
        several: [row, tokens, how many the first sees, head, offset of the keys, offset of the values].
        last_single: as `single`, of `kept` rows by their number there.
        last_several: as `several`, likewise.
        longest: most tokens of a sequence.
        turned: floats that keys and values take.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    single: Lines = field(default_factory=list)
    turn: Lines = field(default_factory=list)
    several: Lines = field(default_factory=list)
    last_single: Lines = field(default_factory=list)
    last_several: Lines = field(default_factory=list)
    longest: int = 0
    turned: int = 0


def span_tables(spans: Sequence[TokenSpan], heads: Heads, *, all_states: bool = False) -> SpanTables:
    """Returns the tables of a step.

    Args:
        all_states: every row is kept; else those whose logits are wanted, the last of their spans.
    """
    ids: list[int] = []
    positions: list[int] = []
    places: list[int] = []
    kept: list[int] = []
    single: Lines = []
    turn: Lines = []
    several: Lines = []
    last_single: Lines = []
    last_several: Lines = []
    numbers: list[range] = [range(0)] * len(spans)
    turned = longest = 0
    for at in sorted(range(len(spans)), key=lambda at: not spans[at].decodes):
        span = spans[at]
        row, count = len(ids), len(span.tokens)
        ids.extend(span.tokens)
        positions.extend(range(span.start, span.stop))
        places.extend(range(span.slot + span.start, span.slot + span.stop))
        longest = max(longest, span.stop)
        wanted = count if all_states else int(span.logits)
        if span.decodes:
            single.append((row, span.slot, span.stop))
            last_single.extend([(len(kept), span.slot, span.stop)] * wanted)
        else:
            turns, turned = _turns(span, heads, turned)
            turn.extend(_turn_lines(turns, heads))
            several.extend(_several_lines(turns, heads, row, count))
            last_several.extend(_several_lines(turns, heads, len(kept), wanted))
        numbers[at] = range(len(kept), len(kept) + wanted)
        kept.extend(range(row + count - wanted, row + count))
    return SpanTables(
        ids,
        positions,
        places,
        kept,
        [number for found in numbers for number in found],
        [found[-1] for span, found in zip(spans, numbers, strict=True) if span.logits],
        single,
        turn,
        several,
        last_single,
        last_several,
        longest,
        turned,
    )


def _turns(span: TokenSpan, heads: Heads, start: int) -> tuple[Turns, int]:
    """Returns where a sequence's turned keys and values stand from `start` on, and where they end."""
    size = -(-span.stop // PANEL) * PANEL * heads.dim
    places = tuple((start + 2 * size * head, start + 2 * size * head + size) for head in range(heads.keys))
    return Turns(span, places), start + 2 * size * heads.keys


def _turn_lines(turns: Turns, heads: Heads) -> Lines:
    span, lines = turns.span, []
    for head, (keys, values) in enumerate(turns.places):
        for first in range(0, span.stop, PANEL):
            place = first * heads.dim
            lines.append((head, span.slot + first, min(PANEL, span.stop - first), keys + place, values + place))
    return lines


def _several_lines(turns: Turns, heads: Heads, row: int, count: int) -> Lines:
    """Returns the lines of a sequence's last `count` tokens, which stand from `row` on."""
    sees, step = turns.span.stop - count + 1, query_tokens(heads)
    # The last queries see most, so they go first: no thread is left with them at the end.
    return [
        (row + first, min(step, count - first), sees + first, head, keys, values)
        for head, (keys, values) in enumerate(turns.places)
        for first in reversed(range(0, count, step))
    ]
