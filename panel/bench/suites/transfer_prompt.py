"""The writes that carry one prompt's KV, as the engine plans them. Pure.

The shape is the default model's: 30 layers, 3 KV heads of 64. A chunk's pages leave in one write.
"""

from __future__ import annotations

from dataclasses import dataclass

from ....engine.pages import Run, Runs
from ....engine.transfer.plan import Segment, merge_runs, slice_runs

__all__ = ["HEAD_DIM", "KV_HEADS", "LAYERS", "LAYOUTS", "PAGE", "Prompt", "page_bytes"]

LAYERS, KV_HEADS, HEAD_DIM = 30, 3, 64
PAGE = 16
_STEP = 37  # odd: it visits every page of a power of two, and never the next one next
LAYOUTS = ("contiguous", "fragmented")


def page_bytes(element: int) -> int:
    """Returns the bytes of one page, all layers; `element` are those of one number of the KV."""
    return LAYERS * 2 * KV_HEADS * PAGE * HEAD_DIM * element


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt whose pages go to the peer.

    Attributes:
        tokens: a power of two of pages.
        chunk: tokens of one write.
        element: bytes of one number of the KV.
        layout: of the granted pages, one of LAYOUTS: consecutive, or no two of them.
    """

    tokens: int
    chunk: int
    element: int
    layout: str

    @property
    def pages(self) -> int:
        """Pages of the prompt, and of the memory on both sides."""
        return self.tokens // PAGE

    @property
    def size(self) -> int:
        """Bytes of the prompt's KV."""
        return self.pages * page_bytes(self.element)

    def granted(self) -> Runs:
        """Returns the peer's pages."""
        if self.layout == "contiguous":
            return (Run(0, self.pages),)
        return tuple(Run(number * _STEP % self.pages, 1) for number in range(self.pages))

    def writes(self) -> list[tuple[Segment, ...]]:
        """Returns the segments of each chunk's write."""
        step = self.chunk // PAGE
        target = self.granted()
        return [
            merge_runs((Run(first, step),), slice_runs(target, first, step), page_bytes(self.element))
            for first in range(0, self.pages, step)
        ]
