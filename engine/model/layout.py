"""What a converted model's weight file holds: name, shape and order of fused tensors and their parts.

Shared by the writer and the loader, so that both speak of the same file. A part is one tensor of the source
(GGUF or Hugging Face); parts that are multiplied with the same input lie below each other in one tensor.
Knows nothing of files or numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .expert_shape import ExpertShape
from .shape import ModelShape

__all__ = ["NO_EXPERT", "OUTSIDE_LAYERS", "Part", "WeightTensor", "layer_layout", "weight_layout"]

OUTSIDE_LAYERS = -1
NO_EXPERT = -1


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of the source.

    Attributes:
        kind: `embedding`, `norm`, `lm_head`, `attn_norm`, `q`, `k`, `v`, `q_bias`, `k_bias`, `v_bias`,
            `q_norm`, `k_norm`, `o`, `ffn_norm`, `gate`, `up`, `down`, `router`, `expert_gate`, `expert_up` or
            `expert_down`.
        layer: the layer's index, `OUTSIDE_LAYERS` for the first three.
        shape: [out] or [out, in].
        expert: of the last three kinds, the expert's index in its layer.
    """

    kind: str
    layer: int
    shape: tuple[int, ...]
    expert: int = NO_EXPERT


@dataclass(frozen=True, slots=True)
class WeightTensor:
    """One tensor of the converted file: its parts, one below the other."""

    name: str
    parts: tuple[Part, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """[sum of out] or [sum of out, in]."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])


def weight_layout(shape: ModelShape) -> Iterator[WeightTensor]:
    """Yields the tensors of a converted model of `shape`, in the order of the file."""
    yield WeightTensor("embedding", (Part("embedding", OUTSIDE_LAYERS, (shape.vocab, shape.hidden)),))
    for layer in range(shape.layers):
        yield from layer_layout(shape, layer)
    yield WeightTensor("norm", (Part("norm", OUTSIDE_LAYERS, (shape.hidden,)),))
    if not shape.tie_embeddings:
        yield WeightTensor("lm_head", (Part("lm_head", OUTSIDE_LAYERS, (shape.vocab, shape.hidden)),))


def layer_layout(shape: ModelShape, i: int) -> Iterator[WeightTensor]:
    """Yields the tensors of layer `i`."""
    hidden, q, kv, name = shape.hidden, shape.q_rows, shape.kv_rows, f"layers.{i}."
    yield WeightTensor(name + "attn_norm", (Part("attn_norm", i, (hidden,)),))
    yield WeightTensor(
        name + "qkv",
        (Part("q", i, (q, hidden)), Part("k", i, (kv, hidden)), Part("v", i, (kv, hidden))),
    )
    if shape.qkv_bias:
        yield WeightTensor(
            name + "qkv_bias",
            (Part("q_bias", i, (q,)), Part("k_bias", i, (kv,)), Part("v_bias", i, (kv,))),
        )
    if shape.qk_norm:
        yield WeightTensor(name + "q_norm", (Part("q_norm", i, (shape.head_dim,)),))
        yield WeightTensor(name + "k_norm", (Part("k_norm", i, (shape.head_dim,)),))
    yield WeightTensor(name + "o", (Part("o", i, (hidden, q)),))
    yield WeightTensor(name + "ffn_norm", (Part("ffn_norm", i, (hidden,)),))
    if shape.experts is not None and shape.has_experts(i):
        yield from _expert_layout(shape.experts, hidden, i)
        return
    yield WeightTensor(name + "gate_up", (Part("gate", i, (shape.ffn, hidden)), Part("up", i, (shape.ffn, hidden))))
    yield WeightTensor(name + "down", (Part("down", i, (hidden, shape.ffn)),))


def _expert_layout(experts: ExpertShape, hidden: int, i: int) -> Iterator[WeightTensor]:
    """Yields the router, and all experts one below the other: of each one gate and up, then of each one down."""
    inner, outer = (experts.ffn, hidden), (hidden, experts.ffn)
    all_of_them, name = range(experts.count), f"layers.{i}."
    halves = ("expert_gate", "expert_up")
    yield WeightTensor(name + "router", (Part("router", i, (experts.count, hidden)),))
    yield WeightTensor(
        name + "experts_gate_up", tuple(Part(kind, i, inner, expert) for expert in all_of_them for kind in halves)
    )
    yield WeightTensor(name + "experts_down", tuple(Part("expert_down", i, outer, expert) for expert in all_of_them))
