"""The tokens of a pass's spans, one after the other: what every executor feeds its layers with. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .executor import TokenSpan

__all__ = ["Packed", "pack"]


@dataclass(frozen=True, slots=True)
class Packed:
    """All tokens of a pass, in the order of the spans.

    Attributes:
        ids: the tokens.
        positions: of each token in its sequence.
        places: of each token in the slot memory, where its KV goes.
        wanted: indices of the tokens after which logits are wanted.
    """

    ids: list[int]
    positions: list[int]
    places: list[int]
    wanted: list[int]


def pack(spans: Sequence[TokenSpan]) -> Packed:
    """Returns the tokens of `spans`."""
    packed = Packed([], [], [], [])
    for span in spans:
        packed.ids.extend(span.tokens)
        packed.positions.extend(range(span.start, span.stop))
        packed.places.extend(range(span.slot + span.start, span.slot + span.stop))
        if span.logits:
            packed.wanted.append(len(packed.ids) - 1)
    return packed
