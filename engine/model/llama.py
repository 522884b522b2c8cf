"""Forward pass of Llama-family decoders over compute slots.

A pass takes any mixture of spans: all their tokens go through the linear layers together, attention runs span by
span on zero-copy views of the slots, so a neighbour's length costs nothing and its content changes nothing. KV is
written in the cache's dtype and read back from it, so a worker that receives KV continues from the very same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kv import KVCache
from .executor import ExecutorInfo, TokenSpan
from .shape import ModelShape
from .weights import LayerWeights, Weights

__all__ = ["Llama"]

# Queries are padded to a multiple of this: torch computes attention block by block, and a last block of a few rows goes
# through another kernel, so that a token's KV would depend on how many are computed after it.
_QUERY_BLOCK = 16


def inverse_frequencies(shape: ModelShape) -> Tensor:
    """Returns rope's inverse frequencies, [head_dim / 2], with the model's scaling applied.

    The "linear" and "llama3" rules are transformers' (modeling_rope_utils); other types never reach a `ModelShape`.
    """
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.int64).float() / shape.head_dim
    inverse = 1.0 / (shape.rope_theta**exponents)
    scaling = shape.rope_scaling
    if scaling is None:
        return inverse
    if scaling.rope_type == "linear":
        return inverse / scaling.factor
    waves = scaling.original_max_position * inverse / (2 * torch.pi)  # turns within the original context
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    smooth = ((waves - low) / (high - low)).clamp(0, 1)
    return (1 - smooth) * inverse / scaling.factor + smooth * inverse


class Llama:
    """A loaded model.

    Args:
        weights: on one device, in the compute dtype.
        context_length: positions to prepare rope for.
    """

    def __init__(self, shape: ModelShape, weights: Weights, context_length: int) -> None:
        self.shape = shape
        self.weights = weights
        self._group = shape.heads // shape.kv_heads
        angles = torch.outer(torch.arange(context_length).float(), inverse_frequencies(shape))
        dtype = weights.embedding.dtype
        self._cos = torch.cat((angles.cos(), angles.cos()), dim=-1).to(dtype)  # [positions, head_dim]
        self._sin = torch.cat((-angles.sin(), angles.sin()), dim=-1).to(dtype)  # sign of rotate_half folded in

    @property
    def info(self) -> ExecutorInfo:
        """The path of any device that torch has."""
        return ExecutorInfo("torch", "sdpa", str(self.weights.embedding.dtype).removeprefix("torch."))

    def forward(self, spans: Sequence[TokenSpan], kv: KVCache, tap: Callable[[Tensor], None] | None = None) -> Tensor:
        """Computes the spans, writes their KV and returns the wanted logits.

        Args:
            tap: called with the states of all tokens, [tokens, hidden], in the order of the spans; `logits` makes
                logits of any of them.

        Returns:
            float32 [spans with logits, vocab], in the order of the spans.
        """
        ids: list[int] = []
        positions: list[int] = []
        places: list[int] = []
        last: list[int] = []
        for span in spans:
            ids.extend(span.tokens)
            positions.extend(range(span.start, span.stop))
            places.extend(range(span.slot + span.start, span.slot + span.stop))
            if span.logits:
                last.append(len(ids) - 1)
        index = torch.tensor(positions)
        cos, sin = self._cos[index].unsqueeze(1), self._sin[index].unsqueeze(1)  # [tokens, 1, dim]
        target = torch.tensor(places)
        masks = [_mask(span) for span in spans]
        x = F.embedding(torch.tensor(ids), self.weights.embedding)  # [tokens, hidden]
        for layer, weights in enumerate(self.weights.layers):
            x = x + self._attention(x, weights, kv.slots[layer], spans, masks, cos, sin, target)
            x = x + self._feed_forward(x, weights)
        if tap is not None:
            tap(x)
        return self.logits(x[last]) if last else x.new_empty((0, self.shape.vocab), dtype=torch.float32)

    def logits(self, states: Tensor) -> Tensor:
        """Returns the logits, float32 [rows, vocab], of states [rows, hidden]."""
        rows = F.rms_norm(states, (self.shape.hidden,), self.weights.norm, self.shape.rms_eps)
        return F.linear(rows, self.weights.lm_head).float()

    def _feed_forward(self, x: Tensor, weights: LayerWeights) -> Tensor:
        h = F.rms_norm(x, (self.shape.hidden,), weights.ffn_norm, self.shape.rms_eps)
        gate, up = F.linear(h, weights.gate_up).split(self.shape.ffn, dim=-1)
        return F.linear(F.silu(gate).mul_(up), weights.down)

    def _attention(
        self,
        x: Tensor,
        weights: LayerWeights,
        slots: Tensor,
        spans: Sequence[TokenSpan],
        masks: Sequence[Tensor | None],
        cos: Tensor,
        sin: Tensor,
        target: Tensor,
    ) -> Tensor:
        shape = self.shape
        h = F.rms_norm(x, (shape.hidden,), weights.attn_norm, shape.rms_eps)
        qkv = F.linear(h, weights.qkv, weights.qkv_bias)
        q, k, v = qkv.split((shape.q_rows, shape.kv_rows, shape.kv_rows), dim=-1)
        rotated = torch.cat((q, k), dim=-1).unflatten(-1, (shape.heads + shape.kv_heads, shape.head_dim))
        half = shape.head_dim // 2
        rotated = rotated * cos + rotated.roll(half, dims=-1) * sin  # [tokens, heads + kv_heads, dim]
        q, k = rotated.split((shape.heads, shape.kv_heads), dim=1)
        v = v.unflatten(-1, (shape.kv_heads, shape.head_dim))
        fresh = torch.stack((k, v)).transpose(1, 2)  # [K|V, kv_heads, tokens, dim]
        slots.index_copy_(2, target, fresh.to(slots.dtype))
        out = x.new_empty((len(x), shape.q_rows))
        row = 0
        for span, mask in zip(spans, masks, strict=True):
            count = len(span.tokens)
            past = slots[:, :, span.slot : span.slot + span.stop]  # [K|V, kv_heads, tokens so far, dim]
            out[row : row + count] = self._attend(q[row : row + count], past, mask)
            row += count
        return F.linear(out, weights.o)

    def _attend(self, q: Tensor, past: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of [tokens, heads, dim] queries over [K|V, kv_heads, past, dim]; returns [tokens, heads * dim]."""
        count, kv_heads = len(q), self.shape.kv_heads
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
