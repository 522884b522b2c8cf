"""Forward pass of Llama-family decoders over compute slots.

A pass takes any mixture of spans: all their tokens go through the linear layers together, and `attention` looks back
span by span, so a neighbour's length costs nothing and its content changes nothing. KV is written in the cache's dtype
and read back from it, so a worker that receives KV continues from the very same bits. `engine.gpu` runs the same layers
with attention of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kv import KVCache
from .attention import Attend, SpanAttention
from .executor import ExecutorInfo, TokenSpan
from .experts import ExpertLayer, OwnExperts
from .join import ALONE, Join
from .packed import pack
from .shape import ModelShape
from .weights import LayerWeights, Weights

__all__ = ["Llama", "rope_angles"]


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


def rope_angles(shape: ModelShape, positions: int) -> tuple[Tensor, Tensor]:
    """Returns rope's cosines and sines, float32 [positions, head_dim / 2] each."""
    angles = torch.outer(torch.arange(positions).float(), inverse_frequencies(shape))
    return angles.cos(), angles.sin()


class Llama:
    """A loaded model.

    Args:
        weights: on one device, in the compute dtype.
        context_length: positions to prepare rope for.
        experts: computes the experts of the layers that have them; None computes those in `weights`.
    """

    def __init__(
        self, shape: ModelShape, weights: Weights, context_length: int, experts: ExpertLayer | None = None
    ) -> None:
        self.shape = shape
        self.weights = weights
        cos, sin = rope_angles(shape, context_length)
        as_weights = weights.embedding  # whose device and dtype are everybody's
        self._cos = torch.cat((cos, cos), dim=-1).to(as_weights)  # [positions, head_dim]
        self._sin = torch.cat((-sin, sin), dim=-1).to(as_weights)  # sign of rotate_half folded in
        self.info = ExecutorInfo("torch", "sdpa", str(weights.embedding.dtype).removeprefix("torch."))
        self._experts = OwnExperts(shape.experts) if experts is None and shape.experts is not None else experts
        self._head_norms = tuple(_head_norm(layer, shape) for layer in weights.layers)

    def forward(self, spans: Sequence[TokenSpan], kv: KVCache, tap: Callable[[Tensor], None] | None = None) -> Tensor:
        """Computes the spans, writes their KV and returns the wanted logits.

        Args:
            tap: called with the states of all tokens, [tokens, hidden], in the order of the spans; `logits` makes
                logits of any of them.

        Returns:
            float32 [spans with logits, vocab], in the order of the spans.
        """
        packed = pack(spans)
        attend = SpanAttention(self.shape, spans)
        tensors = (torch.tensor(packed.ids), torch.tensor(packed.positions), torch.tensor(packed.places))
        x = self.states(*tensors, kv.slots, attend)
        if tap is not None:
            tap(x)
        wanted = packed.wanted
        return self.logits(x[wanted]) if wanted else x.new_empty((0, self.shape.vocab), dtype=torch.float32)

    def states(
        self, ids: Tensor, positions: Tensor, places: Tensor, slots: Tensor, attend: Attend, join: Join = ALONE
    ) -> Tensor:
        """Returns the states of tokens behind the last layer, [tokens, hidden], and writes their KV.

        Args:
            ids: [tokens], and so are `positions` and `places`, all on the weights' device; those two, of the tokens
                that `join` has attended here.
            slots: [layers, K|V, kv_heads, places, dim].
            attend: how the queries look back; called once in each layer, after its KV was written.
            join: makes one of a layer's parts where other ranks have some of them.
        """
        cos, sin = self._cos[positions].unsqueeze(1), self._sin[positions].unsqueeze(1)  # [tokens, 1, dim]
        x = self.embed(ids)
        for layer, weights in enumerate(self.weights.layers):
            own, norm = join.own(x), self._head_norms[layer]
            x = x + join.attention(self._attention(own, weights, norm, slots[layer], attend, cos, sin, places))
            x = x + join.feed_forward(self._feed_forward(x, weights))
        return x

    def embed(self, ids: Tensor) -> Tensor:
        """Returns the states in front of the first layer, [tokens, hidden], of ids [tokens]."""
        return F.embedding(ids, self.weights.embedding)

    def logits(self, states: Tensor, head: Tensor | None = None) -> Tensor:
        """Returns the logits, float32 [rows, vocab], of states [rows, hidden].

        Args:
            head: another output matrix than the weights' own, [vocab, hidden].
        """
        rows = F.rms_norm(states, (self.shape.hidden,), self.weights.norm, self.shape.rms_eps)
        return F.linear(rows, self.weights.lm_head if head is None else head).float()

    def _feed_forward(self, x: Tensor, weights: LayerWeights) -> Tensor:
        h = F.rms_norm(x, (self.shape.hidden,), weights.ffn_norm, self.shape.rms_eps)
        if weights.experts is not None and self._experts is not None:
            return self._experts(h, weights.experts)
        gate, up = F.linear(h, weights.gate_up).split(self.shape.ffn, dim=-1)
        return F.linear(F.silu(gate).mul_(up), weights.down)

    def _attention(
        self,
        x: Tensor,
        weights: LayerWeights,
        norm: Tensor | None,
        slots: Tensor,
        attend: Attend,
        cos: Tensor,
        sin: Tensor,
        places: Tensor,
    ) -> Tensor:
        shape = self.shape
        h = F.rms_norm(x, (shape.hidden,), weights.attn_norm, shape.rms_eps)
        qkv = F.linear(h, weights.qkv, weights.qkv_bias)
        q, k, v = qkv.split((shape.q_rows, shape.kv_rows, shape.kv_rows), dim=-1)
        rotated = torch.cat((q, k), dim=-1).unflatten(-1, (shape.heads + shape.kv_heads, shape.head_dim))
        if norm is not None:
            rotated = F.rms_norm(rotated, (shape.head_dim,), None, shape.rms_eps) * norm
        half = shape.head_dim // 2
        rotated = rotated * cos + rotated.roll(half, dims=-1) * sin  # [tokens, heads + kv_heads, dim]
        q, k = rotated.split((shape.heads, shape.kv_heads), dim=1)
        v = v.unflatten(-1, (shape.kv_heads, shape.head_dim))
        fresh = torch.stack((k, v)).transpose(1, 2)  # [K|V, kv_heads, tokens, dim]
        slots.index_copy_(2, places, fresh.to(slots.dtype))
        return F.linear(attend(q, slots), weights.o)


def _head_norm(weights: LayerWeights, shape: ModelShape) -> Tensor | None:
    """Returns the weights of the norms of q's and k's heads, [heads + kv_heads, head_dim]; None without such norms."""
    if weights.q_norm is None or weights.k_norm is None:
        return None
    return torch.cat((weights.q_norm.expand(shape.heads, -1), weights.k_norm.expand(shape.kv_heads, -1)))
