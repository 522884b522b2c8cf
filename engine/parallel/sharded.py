"""One rank's part of a forward pass: `Llama` over the rank's own weights, its partial sums added up with the others'.

Every rank is given the same spans and has the same states between the parts of a layer. The attention of a span is
computed by the ranks of its group alone, which hold its KV; the feed-forward part and the vocabulary are shared out
among all ranks. Logits come together on rank 0. The model knows nothing of this: `engine.model.join` is the seam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..kv import KVCache
from ..model.attention import SpanAttention
from ..model.executor import ExecutorInfo, TokenSpan
from ..model.experts import ExpertLayer
from ..model.llama import Llama
from ..model.packed import pack
from ..model.shape import ModelShape
from ..model.weights import Weights
from ..vision.executor import ImageLlama, ImageRows
from .collective import Collective
from .layout import RankShard
from .shards import Place, part_shape, part_weights, stay

__all__ = ["RankJoin", "ShardedLlama"]


class RankJoin:
    """`Join` of one pass of a rank.

    Args:
        tokens: of the pass.
        rows: those whose attention is computed here, on the states' device; None for all.
    """

    def __init__(self, collective: Collective, tokens: int, rows: Tensor | None) -> None:
        self._collective = collective
        self._tokens = tokens
        self._rows = rows

    def own(self, states: Tensor) -> Tensor:
        """Returns the rows of the rank's own attention group."""
        return states if self._rows is None else states.index_select(0, self._rows)

    def attention(self, part: Tensor) -> Tensor:
        """Returns the sum over all ranks; rows of other groups are zero here."""
        if self._rows is not None:
            part = part.new_zeros((self._tokens, part.shape[1])).index_copy_(0, self._rows, part)
        return self._collective.all_reduce(part)

    def feed_forward(self, part: Tensor) -> Tensor:
        """Returns the sum over all ranks."""
        return self._collective.all_reduce(part)


class ShardedLlama:
    """An executor of which each rank has one; all of them compute each pass together.

    Args:
        shape: of the whole model.
        weights: the whole model's, mapped from the file; of what is not here nothing is kept.
        shards: of all ranks.
        collective: of all ranks; its rank says which part this is.
        context_length: positions to prepare rope for.
        place: brings the rank's weights to where it computes.
        experts: the rank's experts, where they are placed otherwise than its shard has them.
        expert_layer: how tokens come to their experts; None computes those that are here over all tokens.
        images: has the embeddings of images, the same on all ranks; None for a model that takes text alone.

    Attributes:
        shape: of the whole model.
        part: of what is here, for this rank's KV memory.
    """

    def __init__(
        self,
        shape: ModelShape,
        weights: Weights,
        shards: Sequence[RankShard],
        collective: Collective,
        context_length: int,
        *,
        place: Place = stay,
        experts: tuple[int, ...] | None = None,
        expert_layer: ExpertLayer | None = None,
        images: ImageRows | None = None,
    ) -> None:
        rank, ranks = collective.rank, collective.size
        assert len(shards) == ranks
        own = part_weights(weights, shape, shards[rank], ranks, place, experts)
        self.shape = shape
        self.part = part_shape(shape, shards[rank], ranks)
        self._group = shards[rank].group
        self._widths = [len(shard.vocab) for shard in shards]
        self._collective = collective
        if images is None:
            self._model = Llama(self.part, own, context_length, expert_layer)
        else:
            self._model = ImageLlama(self.part, own, context_length, images, expert_layer)
        self._device = own.embedding.device
        self._output: Tensor | None = None  # the whole output matrix, for prompts' tokens that rank 0 scores
        if rank == 0:
            self._output = own.embedding if weights.lm_head is weights.embedding else place(weights.lm_head)
        reason = f"torch computes a model that is spread over {ranks} ranks"
        self.info: ExecutorInfo = replace(self._model.info, reason=reason)

    def forward(self, spans: Sequence[TokenSpan], kv: KVCache, tap: Callable[[Tensor], None] | None = None) -> Tensor:
        """Computes the rank's part of the spans, whichever group they are of, and writes the KV of its own group's.

        Args:
            spans: the same on all ranks, in the same order.
            kv: of this rank, for the KV heads that it has.
            tap: called with the states of all tokens, [tokens, hidden], in the order of the spans.

        Returns:
            float32 [spans with logits, vocab] on rank 0, in the order of the spans; [0, vocab] on the others.

        Raises:
            RankError: another rank is gone or does not answer.
        """
        packed = pack(spans)
        own = [span for span in spans if span.group == self._group]
        attended, rows = packed, None
        if len(own) < len(spans):
            attended, rows = pack(own), self._tensor(_rows_of(spans, self._group))
        join = RankJoin(self._collective, len(packed.ids), rows)
        x = self._model.states(
            self._tensor(packed.ids),
            self._tensor(attended.positions),
            self._tensor(attended.places),
            kv.slots,
            SpanAttention(self.part, own),
            join,
        )
        if tap is not None:
            tap(x)
        if packed.wanted:
            logits = self._collective.gather(self._model.logits(x[packed.wanted]), self._widths)
            if logits is not None:
                return logits
        return x.new_empty((0, self.shape.vocab), dtype=torch.float32)

    def logits(self, states: Tensor) -> Tensor:
        """Returns the logits, float32 [rows, vocab], of states [rows, hidden]; of rank 0 alone, which asks nobody."""
        assert self._output is not None, "rank 0 has the whole output matrix"
        return self._model.logits(states, self._output)

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)


def _rows_of(spans: Sequence[TokenSpan], group: int) -> list[int]:
    """Returns the indices of a group's tokens among those of all spans."""
    rows: list[int] = []
    row = 0
    for span in spans:
        if span.group == group:
            rows.extend(range(row, row + len(span.tokens)))
        row += len(span.tokens)
    return rows
