"""How queries look back: the one part of a forward pass that differs between a CPU and a GPU.

`llama` has everything else and calls an `Attend` once in each layer, after the fresh KV was written. `SpanAttention` is
torch's own attention, span by span on zero-copy views of the slots, on any device; `engine.gpu` has others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .executor import TokenSpan
from .shape import ModelShape

__all__ = ["Attend", "SpanAttention"]

Attend = Callable[[Tensor, Tensor], Tensor]
"""(queries [tokens, heads, dim], a layer's slots [K|V, kv_heads, places, dim]) -> [tokens, heads * dim]."""

# Queries are padded to a multiple of this: torch computes attention block by block, and a last block of a few rows goes
# through another kernel, so that a token's KV would depend on how many are computed after it.
_QUERY_BLOCK = 16


class SpanAttention:
    """Attention of the spans of one pass, in their order."""

    def __init__(self, shape: ModelShape, spans: Sequence[TokenSpan]) -> None:
        self._kv_heads = shape.kv_heads
        self._group = shape.heads // shape.kv_heads
        self._spans = tuple((span, _mask(span)) for span in spans)

    def __call__(self, q: Tensor, slots: Tensor) -> Tensor:
        """Returns [tokens, heads * dim] of queries [tokens, heads, dim]; slots hold the KV of all tokens so far."""
        out = q.new_empty((len(q), q.shape[1] * q.shape[2]))
        row = 0
        for span, mask in self._spans:
            count = len(span.tokens)
            past = slots[:, :, span.slot : span.slot + span.stop]  # [K|V, kv_heads, tokens so far, dim]
            out[row : row + count] = self._attend(q[row : row + count], past, mask)
            row += count
        return out

    def _attend(self, q: Tensor, past: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of [tokens, heads, dim] queries over [K|V, kv_heads, past, dim]; returns [tokens, heads * dim]."""
        count, kv_heads = len(q), self._kv_heads
        if count == 1:
            # One token: the query heads of a group are the rows of one product, in the cache's dtype (on a CPU,
            # bfloat16 attention over bfloat16 KV beats converting the KV; grouped rows beat enable_gqa).
            rows = q.view(1, kv_heads, self._group, -1).to(past.dtype)
            result = F.scaled_dot_product_attention(rows, past[0:1], past[1:2])
            return result.to(q.dtype).reshape(1, -1)
        past = past.to(q.dtype)
        padded = -(-count // _QUERY_BLOCK) * _QUERY_BLOCK
        q = F.pad(q, (0, 0, 0, 0, 0, padded - count))
        rows = q.view(padded, kv_heads, self._group, -1).permute(1, 2, 0, 3)  # [kv_heads, group, tokens, dim]
        rows = rows.reshape(1, kv_heads, self._group * padded, -1)
        tiled = None if mask is None else F.pad(mask, (0, 0, 0, padded - count), value=True).repeat(self._group, 1)
        result = F.scaled_dot_product_attention(rows, past[0:1], past[1:2], attn_mask=tiled)
        result = result.view(kv_heads, self._group, padded, -1).permute(2, 0, 1, 3)[:count]
        return result.reshape(count, -1)


def _mask(span: TokenSpan) -> Tensor | None:
    """Returns the causal mask of a span with several tokens: True where token i may look, [tokens, stop]."""
    count = len(span.tokens)
    if count == 1:
        return None
    return torch.ones((count, span.stop), dtype=torch.bool).tril_(span.start)
