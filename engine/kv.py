"""The KV cache of one worker as two tensors: compute slots and staging pages.

Slots are what attention reads: [layer][K|V][head][token][dim], where a sequence owns a contiguous range of tokens.
Staging pages are what travels: [page][layer][K|V][head][token][dim], so that a run of pages is one block for every
layer; pages of a peer with other ranks than ours arrive divided by its ranks, as `transfer.heads` says, and slices for
such a peer are gathered in bounce pages behind the pool's. Memory is touched on first use only. Who owns which page is
`pages`' business; this file copies. On a GPU the slots lie in its memory; the staging pages do, too, where the
transport moves it, else they are pinned memory of the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .model.shape import ModelShape
from .pages import Run, Runs
from .transfer.heads import Cells
from .transfer.memory import SharedMemory
from .transfer.plan import slice_runs

__all__ = ["KVCache", "bounce_pages_of"]

# Of the pool, for slices on their way: two prompt chunks as a rule.
_BOUNCE_SHARE, _FEWEST_BOUNCE_PAGES, _MOST_BOUNCE_PAGES = 8, 8, 256


def bounce_pages_of(pages: int) -> int:
    """Returns how many bounce pages a prefill worker with a pool of `pages` has, whoever its peers will be.

    Memory is registered once, before the first peer is known. What no peer with more ranks asks for stays untouched.
    """
    return min(max(_FEWEST_BOUNCE_PAGES, pages // _BOUNCE_SHARE), _MOST_BOUNCE_PAGES)


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
        bounce_pages: staging pages behind the pool's, where `gather` puts slices.
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
        bounce_pages: int = 0,
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
        self._pages, self._bounce_pages = pages, bounce_pages if staging else 0
        self._widths: dict[str, tuple[int, ...]] = {}  # peer -> how many heads come from each of its ranks
        staged = pages + bounce_pages if staging else 0
        places = (staged, shape.layers, 2, shape.kv_heads, page_size, shape.head_dim)
        size = math.prod(places) * dtype.itemsize
        self._shared = SharedMemory(size) if shared and size else None
        self.staging = (
            torch.frombuffer(self._shared.map, dtype=dtype).view(places)
            if self._shared
            else torch.empty(places, dtype=dtype, device=staged_on)
        )  # [pages, layers, K|V, heads, tokens, dim]
        self._pinned = self._asynchronous and staged_on is None and size > 0
        if self._pinned:
            # Not by torch's pinned allocator, which rounds up to a power of two. Unpinned copies are slower, not wrong.
            runtime: Any = torch.cuda.cudart()
            runtime.cudaHostRegister(self.staging_address, size, 0)

    @property
    def page_bytes(self) -> int:
        """Bytes of one staging page, all layers."""
        return self.staging[0:1].numel() * self.staging.element_size() if len(self.staging) else 0

    @property
    def cells(self) -> Cells:
        """What a staging page consists of."""
        layers, both, _, tokens, dim = self.staging.shape[1:]
        return Cells(layers * both, tokens * dim * self.staging.element_size())

    @property
    def bounce_heads(self) -> int:
        """How many heads of pages the bounce pages hold."""
        return self._bounce_pages * self.staging.shape[3]

    @property
    def bounce_start(self) -> int:
        """Byte of the staging memory at which the bounce pages begin."""
        return self._pages * self.page_bytes

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

    def divide(self, peer: str, widths: tuple[int, ...]) -> None:
        """From now on pages of this peer arrive divided by its ranks.

        Args:
            widths: how many of our heads come from each of them, in order of heads; one stands for undivided pages.
        """
        if len(widths) > 1:
            self._widths[peer] = widths
        else:
            self._widths.pop(peer, None)

    def import_pages(
        self, staging: Runs, slot_page: int, *, peer: str = "", granted: Runs = (), first: int = 0
    ) -> None:
        """Copies the staging runs, in order, into consecutive slot pages from `slot_page` on.

        Args:
            peer: who wrote them; empty for pages of our own.
            granted: all runs of the grant that they are part of; `staging` is `first` pages on from its beginning.
        """
        if peer in self._widths:
            self._import_divided(granted, first, sum(run.count for run in staging), slot_page, peer)
        else:
            for run in staging:
                self._slot_pages(slot_page, run.count).copy_(self.staging[run.start : run.start + run.count])
                slot_page += run.count
        if self._asynchronous:  # whoever called gives the staging pages to the next writer
            torch.cuda.current_stream(self.slots.device).synchronize()

    def _import_divided(self, granted: Runs, first: int, count: int, slot_page: int, peer: str) -> None:
        for run in granted:
            start, stop = max(first, 0), min(first + count, run.count)
            if start < stop:
                target = self._slot_pages(slot_page, stop - start)  # [pages, layers, K|V, heads, tokens, dim]
                before = 0
                for block in self.blocks(run, peer):
                    target[:, :, :, before : before + block.shape[3]].copy_(block[start:stop])
                    before += block.shape[3]
                slot_page += stop - start
            first -= run.count

    def blocks(self, run: Run, peer: str = "") -> Iterator[Tensor]:
        """Yields the pages of a run as [pages, layers, K|V, some heads, tokens, dim], in order of heads.

        Args:
            run: of pages of our own, which are one block, or a whole run that was granted to a peer.
        """
        total = self.staging.shape[3]
        before = 0
        for width in self._widths.get(peer, (total,)):
            yield self._slices(run.start * total + run.count * before, run.count, width)
            before += width

    def _slices(self, head: int, pages: int, width: int) -> Tensor:
        """Returns staging memory, from a head of a page on, as [pages, layers, K|V, width, tokens, dim]."""
        _, layers, both, _, tokens, dim = self.staging.shape
        size = layers * both * tokens * dim
        flat = self.staging.view(-1)[head * size : (head + pages * width) * size]
        return flat.view(pages, layers, both, width, tokens, dim)

    def gather(self, staging: Runs, heads: range, bounce: Runs) -> None:
        """Copies a slice of the staging pages into bounce memory; it stands there complete when this returns.

        Args:
            heads: which of our heads, counted from our first.
            bounce: runs of heads of pages, counted from the first bounce page on, with room for whole pages of
                `heads` each; together as many pages as `staging` has.
        """
        done = 0
        with torch.inference_mode():  # this thread's own: a rank makes its memory in that mode
            for run in bounce:
                pages = run.count // len(heads)
                target = self._slices(self._pages * self.staging.shape[3] + run.start, pages, len(heads))
                place = 0
                for piece in slice_runs(staging, done, pages):
                    source = self.staging[piece.start : piece.stop, :, :, heads.start : heads.stop]
                    target[place : place + piece.count].copy_(source)
                    place += piece.count
                done += pages
        if self.staging.is_cuda:
            torch.cuda.current_stream(self.staging.device).synchronize()

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

    def drop(self) -> None:
        """Gives the memory up; nothing reads or writes it any more, and no transport knows the staging pages."""
        if self._pinned:
            runtime: Any = torch.cuda.cudart()
            runtime.cudaHostUnregister(self.staging_address)
            self._pinned = False
        self.slots = self.slots.new_empty((0,))
        self.staging = self.staging.new_empty((0,) * self.staging.dim())
        self._shared = None

    def first_token(self, slot: Run) -> int:
        """Returns the token index of a slot's first place."""
        return slot.start * self.page_size
