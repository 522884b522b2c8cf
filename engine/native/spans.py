"""The tables that the attention kernels read: which sequence, where its KV lies, what a tile works on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..model.executor import TokenSpan
from .attention import query_tokens
from .formats import PANEL
from .rows import Heads

__all__ = ["SpanTables", "span_tables", "turned_floats"]


@dataclass(frozen=True, slots=True)
class SpanTables:
    """A step's tables.

    Attributes:
        ids: token ids, in the order of the spans.
        positions: of the tokens.
        places: token indices in the slots.
        wanted: rows whose logits are wanted.
        single: [row, first place, tokens] of each sequence with one new token.
        turn: [head, first place, tokens, offset of the keys, offset of the values]; offsets in floats.
        several: [row, tokens, how many the first sees, head, offset of the keys, offset of the values].
        longest: most tokens of a sequence.
        turned: floats that keys and values take.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    single: list[tuple[int, ...]] = field(default_factory=list)
    turn: list[tuple[int, ...]] = field(default_factory=list)
    several: list[tuple[int, ...]] = field(default_factory=list)
    longest: int = 0
    turned: int = 0


def turned_floats(tokens: int, heads: Heads) -> int:
    """Returns the floats of one head's turned keys; its values take as many."""
    return -(-tokens // PANEL) * PANEL * heads.dim


def span_tables(spans: Sequence[TokenSpan], heads: Heads) -> SpanTables:
    """Returns the tables of a step."""
    ids: list[int] = []
    positions: list[int] = []
    places: list[int] = []
    wanted: list[int] = []
    single: list[tuple[int, ...]] = []
    turn: list[tuple[int, ...]] = []
    several: list[tuple[int, ...]] = []
    turned = longest = 0
    for span in spans:
        row, count = len(ids), len(span.tokens)
        ids.extend(span.tokens)
        positions.extend(range(span.start, span.stop))
        places.extend(range(span.slot + span.start, span.slot + span.stop))
        if span.logits:
            wanted.append(len(ids) - 1)
        longest = max(longest, span.stop)
        if count == 1:
            single.append((row, span.slot, span.stop))
            continue
        size = turned_floats(span.stop, heads)
        for head in range(heads.keys):
            keys, values = turned, turned + size
            turned += 2 * size
            for first in range(0, span.stop, PANEL):
                place = first * heads.dim
                tokens = min(PANEL, span.stop - first)
                turn.append((head, span.slot + first, tokens, keys + place, values + place))
            step = query_tokens(heads)
            # The last queries see most, so they go first: no thread is left with them at the end.
            for first in reversed(range(0, count, step)):
                tokens = min(step, count - first)
                several.append((row + first, tokens, span.start + first + 1, head, keys, values))
    return SpanTables(ids, positions, places, wanted, single, turn, several, longest, turned)
