"""The executor on a GPU: `Llama`'s layers, paged attention for decode, CUDA graphs by batch size.

A pass of single tokens alone is decode and runs as a graph where one is recorded; any other pass is launched layer by
layer. Work is launched and not waited for: whoever reads a result on the host waits. `opening` makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ..kv import KVCache
from ..model.executor import DecodeRow, ExecutorInfo, TokenSpan
from ..model.llama import Llama
from ..model.packed import pack
from ..model.shape import ModelShape
from .ahead import AheadDecoder
from .batch_attention import BatchAttention, Flash
from .graphs import DecodeGraphs, Recorder
from .paged_attention import PagedAttention, PagedRows

__all__ = ["CudaExecutor"]


class CudaExecutor:
    """A model on a GPU.

    Args:
        model: with its weights on `device`.
        page_size: tokens per page of the KV.
        longest: tokens of a sequence at most.
        paged: the kernels for single tokens; None computes them with torch's attention, one after the other.
        most_rows: single tokens of one launch at most; more of them take several.
        flash: what computes prompts; None is torch's own.
        reason: why no faster path is taken, in one sentence; empty when there is none.
    """

    def __init__(
        self,
        model: Llama,
        device: torch.device,
        *,
        page_size: int,
        longest: int,
        paged: PagedAttention | None,
        most_rows: int,
        flash: Flash | None = None,
        reason: str = "",
    ) -> None:
        self._model = model
        self._device = device
        self._page_size = page_size
        self._paged = paged
        self._most_rows = most_rows
        self._flash = flash
        self._reason = reason
        self._pages = torch.arange(-(-longest // page_size), dtype=torch.int32, device=device)
        self._graphs: DecodeGraphs | None = None
        self._decoder: AheadDecoder | None = None

    @property
    def shape(self) -> ModelShape:
        """The model's dimensions."""
        return self._model.shape

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._device

    @property
    def info(self) -> ExecutorInfo:
        """The path of decode, and what keeps it from a faster one."""
        decode = "triton-paged" if self._paged is not None else "sdpa"
        prompts = "sdpa" if self._flash is None else "flash-attn"
        graphs = f"decode in CUDA graphs of up to {self._graphs.most} sequences" if self._graphs else "no CUDA graphs"
        weights = str(self._model.weights.embedding.dtype).removeprefix("torch.")
        reason = f"{graphs}; {self._reason}" if self._reason else graphs
        return ExecutorInfo("cuda", f"{decode}, prompts {prompts}", weights, reason)

    def record(self, kv: KVCache, recorder: Recorder, most: int) -> None:
        """Records decode over `kv` for batches of up to `most` sequences; nothing without the paged kernels.

        Nor for a model with experts: how many tokens each of them has is read on the host in every layer.

        Raises:
            torch.OutOfMemoryError: the device has no memory left for it; the executor goes on without graphs.
        """
        if self._paged is None:
            return
        if self.shape.experts is not None:
            self.explain("tokens are sorted by expert on the host, which no graph can record")
            return
        embedding = self._model.weights.embedding
        self._graphs = DecodeGraphs(
            lambda inputs: self._decode(inputs, kv),
            recorder,
            most=min(most, self._most_rows),
            width=self.shape.hidden,
            dtype=embedding.dtype,
            device=self._device,
            spare_page=kv.spare_page,
        )

    @property
    def decoder(self) -> AheadDecoder | None:
        """What decodes and draws in one; None before `decode_here`."""
        return self._decoder

    def decode_here(self, *, ahead: bool) -> None:
        """Decodes and draws on the device from now on, where the paged kernels are there, perhaps one step ahead."""
        if self._paged is not None:
            self._decoder = AheadDecoder(self._launch, ahead=ahead)

    def without_kernels(self, reason: str) -> None:
        """Computes single tokens with torch's attention from now on."""
        self._paged = self._graphs = self._decoder = None
        self.explain(reason)

    def explain(self, reason: str) -> None:
        """Sets why no faster path is taken."""
        self._reason = reason

    def forward(self, spans: Sequence[TokenSpan], kv: KVCache, tap: Callable[[Tensor], None] | None = None) -> Tensor:
        """Computes the spans, writes their KV and returns the wanted logits.

        Args:
            tap: called with the states of all tokens, [tokens, hidden], in the order of the spans.

        Returns:
            float32 [spans with logits, vocab], in the order of the spans, on the device.
        """
        with self._chosen():
            # Rows of one sequence may share a graph: in each layer all KV is written before anybody looks back.
            graphs, decode = self._graphs, all(len(span.tokens) == 1 for span in spans)
            if graphs is not None and decode and len(spans) <= graphs.most:
                states = graphs.run([(span.tokens[0], span.start, self._page(span)) for span in spans])
            else:
                states = self._states(spans, kv)
            if tap is not None:
                tap(states.clone())  # the next replay overwrites them
            wanted = [end - 1 for end, span in zip(_ends(spans), spans, strict=True) if span.logits]
            if len(wanted) < len(states):
                states = states.index_select(0, self._upload(wanted)[0]) if wanted else states[:0]
            return self.logits(states)

    def logits(self, states: Tensor) -> Tensor:
        """Returns the logits, float32 [rows, vocab], of states [rows, hidden]."""
        return self._model.logits(states)

    def _launch(self, rows: Sequence[DecodeRow], ids: Tensor | None, kv: KVCache) -> Tensor:
        """Returns the logits of `rows`, whose tokens are `ids` where these are given; waits for nothing."""
        assert len(rows) <= self._most_rows
        with self._chosen():
            inputs = [(row.token, row.position, row.slot // self._page_size) for row in rows]
            if self._graphs is not None and len(rows) <= self._graphs.most:
                return self.logits(self._graphs.run(inputs, ids))
            uploaded = self._upload(*(list(column) for column in zip(*inputs, strict=True)))
            if ids is not None:
                uploaded[0].copy_(ids)
            return self.logits(self._decode(uploaded, kv))

    def _chosen(self) -> AbstractContextManager[object]:
        """Makes the device the current one of the thread that calls, which is where Triton launches."""
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def _page(self, span: TokenSpan) -> int:
        return span.slot // self._page_size

    def _states(self, spans: Sequence[TokenSpan], kv: KVCache) -> Tensor:
        single = [span for span in spans if len(span.tokens) == 1]
        if self._paged is not None and len(single) > self._most_rows:
            return torch.cat([self._states(part, kv) for part in _parts(spans, self._most_rows)])
        packed = pack(spans)
        ids, positions, places = self._upload(packed.ids, packed.positions, packed.places)
        paged = None
        if self._paged is not None and single:
            at, pages = self._upload([span.start for span in single], [self._page(span) for span in single])
            paged = (self._paged, self._rows(at, pages))
        attend = BatchAttention(self.shape, spans, paged, self._flash, self._device)
        return self._model.states(ids, positions, places, kv.slots, attend)

    def _decode(self, inputs: Tensor, kv: KVCache) -> Tensor:
        """Returns the states of [3, rows] ids, positions and first pages; of launches alone, so that it records."""
        paged = self._paged
        assert paged is not None
        ids, positions, pages = inputs.unbind()
        rows = self._rows(positions, pages)
        places = pages * self._page_size + positions
        return self._model.states(ids, positions, places, kv.slots, lambda q, slots: paged.attend(q, slots, rows))

    def _rows(self, positions: Tensor, pages: Tensor) -> PagedRows:
        table = pages.to(torch.int32).unsqueeze(1) + self._pages  # a slot is one run of pages
        return PagedRows(table, (positions + 1).to(torch.int32))

    def _upload(self, *rows: list[int]) -> Tensor:
        """Returns [len(rows), n] int64 on the device, copied without waiting."""
        made = torch.tensor(rows, dtype=torch.int64, pin_memory=self._device.type == "cuda")
        return made.to(self._device, non_blocking=True)


def _ends(spans: Sequence[TokenSpan]) -> list[int]:
    """Returns the row behind each span's last."""
    ends, row = [], 0
    for span in spans:
        row += len(span.tokens)
        ends.append(row)
    return ends


def _parts(spans: Sequence[TokenSpan], most: int) -> list[list[TokenSpan]]:
    """Returns the spans in parts with at most `most` single tokens each, in their order."""
    parts: list[list[TokenSpan]] = [[]]
    single = 0
    for span in spans:
        if len(span.tokens) == 1:
            if single == most:
                parts.append([])
                single = 0
            single += 1
        parts[-1].append(span)
    return parts
