"""The KV cache of one worker as two tensors: compute slots and staging pages.

Slots are what attention reads: [layer][K|V][head][token][dim], where a sequence owns a contiguous range of tokens.
Staging pages are what travels: [page][layer][K|V][head][token][dim], so that a run of pages is one block for every
layer. Memory is touched on first use only. Who owns which page is `pages`' business; this file copies. On a GPU the
slots lie in its memory; the staging pages do, too, where the transport moves it, else they are pinned memory of the
host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .model.shape import ModelShape
from .pages import Run, Runs
from .transfer.memory import SharedMemory

__all__ = ["KVCache"]


class KVCache:
    """Slot and staging memory.

    Args:
        shape: the model's shape.
        pages: pages in each pool.
        page_size: tokens per page.
        staging: False on workers that never transfer.
        shared: whether the staging memory is one that other processes of the host can map.
        device: of the slots; None is the CPU.
        staged_on: device of the staging pages; None is the CPU, pinned where the slots are on a GPU.
        spare_pages: slot pages behind the pool's, which a batch's rows that are nobody's write to.
    """

    def __init__(
        self,
        shape: ModelShape,
        *,
        pages: int,
        page_size: int,
        dtype: torch.dtype,
        staging: bool,
        shared: bool = False,
        device: torch.device | None = None,
        staged_on: torch.device | None = None,
        spare_pages: int = 0,
    ) -> None:
        self.page_size = page_size
        self.dtype = dtype
        self.spare_page = pages
        tokens = (pages + spare_pages) * page_size
        self.slots = torch.empty(
            (shape.layers, 2, shape.kv_heads, tokens, shape.head_dim), dtype=dtype, device=device
        )  # [layers, K|V, heads, tokens, dim]
        self.slots[:, :, :, pages * page_size :].zero_()
        self._asynchronous = self.slots.is_cuda
        places = (pages if staging else 0, shape.layers, 2, shape.kv_heads, page_size, shape.head_dim)
        size = math.prod(places) * dtype.itemsize
        self._shared = SharedMemory(size) if shared and size else None
        self.staging = (
            torch.frombuffer(self._shared.map, dtype=dtype).view(places)
            if self._shared
            else torch.empty(places, dtype=dtype, device=staged_on)
        )  # [pages, layers, K|V, heads, tokens, dim]
        if self._asynchronous and staged_on is None and size:
            # Not by torch's pinned allocator, which rounds up to a power of two. Unpinned copies are slower, not wrong.
            runtime: Any = torch.cuda.cudart()
            runtime.cudaHostRegister(self.staging_address, size, 0)

    @property
    def page_bytes(self) -> int:
        """Bytes of one staging page, all layers."""
        return self.staging[0:1].numel() * self.staging.element_size() if len(self.staging) else 0

    @property
    def staging_address(self) -> int:
        """Address of the first staging byte, for registration with a transport."""
        return self.staging.data_ptr()

    @property
    def staging_file(self) -> int:
        """Descriptor of the file that the staging memory is; -1 when it is this process's alone."""
        return self._shared.file if self._shared else -1

    @property
    def staging_bytes(self) -> int:
        """Bytes of the whole staging memory."""
        return self.staging.numel() * self.staging.element_size()

    def _slot_pages(self, first_page: int, count: int) -> Tensor:
        start = first_page * self.page_size
        tokens = self.slots[:, :, :, start : start + count * self.page_size]
        paged = tokens.unflatten(3, (count, self.page_size))  # [layers, K|V, heads, pages, tokens, dim]
        return paged.permute(3, 0, 1, 2, 4, 5)

    def export_pages(self, slot_page: int, staging: Runs) -> None:
        """Copies consecutive slot pages, from `slot_page` on, into the staging runs in order."""
        for run in staging:
            pages = self.staging[run.start : run.start + run.count]
            pages.copy_(self._slot_pages(slot_page, run.count), non_blocking=True)  # `fence` tells when it is done
            slot_page += run.count

    def import_pages(self, staging: Runs, slot_page: int) -> None:
        """Copies the staging runs, in order, into consecutive slot pages from `slot_page` on."""
        for run in staging:
            self._slot_pages(slot_page, run.count).copy_(self.staging[run.start : run.start + run.count])
            slot_page += run.count
        if self._asynchronous:  # whoever called gives the staging pages to the next writer
            torch.cuda.current_stream(self.slots.device).synchronize()

    def fence(self) -> Callable[[], None] | None:
        """Returns what waits until the pages exported so far stand complete; None where they do already."""
        if not self._asynchronous:
            return None
        event = torch.cuda.Event(blocking=True)
        event.record(torch.cuda.current_stream(self.slots.device))
        return event.synchronize

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copies `tokens` tokens from slot page `source` to slot page `target`; the ranges may overlap."""
        start, stop = source * self.page_size, target * self.page_size
        self.slots[:, :, :, stop : stop + tokens] = self.slots[:, :, :, start : start + tokens].clone()

    def first_token(self, slot: Run) -> int:
        """Returns the token index of a slot's first place."""
        return slot.start * self.page_size
