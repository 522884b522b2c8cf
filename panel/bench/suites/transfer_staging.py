"""The copies between compute slots and staging pages, as the engine makes them before and after a transfer.

Opened by `transfer_carriers` in a process of its own, with one thread, as workers that share cores run. Imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ....engine.kv import KVCache
from ....engine.model.shape import ModelShape
from ....engine.pages import Run
from ....engine.transfer.api import Segment
from ....engine.transfer.memory import SharedMemory
from .transfer_prompt import HEAD_DIM, KV_HEADS, LAYERS, PAGE, page_bytes

__all__ = ["StagingCopy"]

_DTYPES = {2: torch.bfloat16, 4: torch.float32}
_SLOT_TOKENS = 8192  # a worker's, by default; they decide how far a sequence's layers lie apart
_SHAPE = ModelShape(
    "LlamaForCausalLM", LAYERS, 9 * HEAD_DIM, 9, KV_HEADS, HEAD_DIM, 0, 0, 1e4, None, 1e-5, True, 2048, False, (), None
)


class StagingCopy:
    """Copies the pages of a write from slots into staging, or back.

    Args:
        memory: as large as the prompt's pages.
        element: bytes of one number of the KV.
    """

    def __init__(self, memory: SharedMemory, element: int, *, is_export: bool) -> None:
        torch.set_num_threads(1)
        self._page_bytes = page_bytes(element)
        self._is_export = is_export
        self._kv = KVCache(
            _SHAPE, pages=_SLOT_TOKENS // PAGE, page_size=PAGE, dtype=_DTYPES[element], staging=True, shared=True
        )
        pages = memory.length // self._page_bytes
        self._kv.slots[:, :, :, : pages * PAGE] = 1
        self._kv.staging[:pages] = 1

    def address(self) -> str:
        """Nobody connects."""
        return ""

    def connect(self, address: str) -> None:
        """There is no other end."""

    def carry(self, segments: Sequence[Segment]) -> None:
        """Copies the pages from where the write has them, or to where it brings them."""
        counts = [segment.length // self._page_bytes for segment in segments]
        places = [segment.source if self._is_export else segment.target for segment in segments]
        runs = tuple(Run(place // self._page_bytes, count) for place, count in zip(places, counts, strict=True))
        slot = segments[0].source // self._page_bytes
        with torch.inference_mode():
            if self._is_export:
                # Prefill's own pages are consecutive whatever those of the peer are.
                self._kv.export_pages(slot, (Run(runs[0].start, sum(counts)),))
            else:
                self._kv.import_pages(runs, slot)
