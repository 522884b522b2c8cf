"""What a converted model's weight file holds: name, shape and order of fused tensors and their parts.

Shared by the writer and the loader, so that both speak of the same file. A part is one tensor of the source
(GGUF or Hugging Face); parts that are multiplied with the same input lie below each other in one tensor.
Knows nothing of files or numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .shape import ModelShape

__all__ = ["OUTSIDE_LAYERS", "Part", "WeightTensor", "weight_layout"]

OUTSIDE_LAYERS = -1


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of the source.

    Attributes:
        kind: `embedding`, `norm`, `lm_head`, `attn_norm`, `q`, `k`, `v`, `q_bias`, `k_bias`, `v_bias`,
            `q_norm`, `k_norm`, `o`, `ffn_norm`, `gate`, `up` or `down`.
        layer: the layer's index, `OUTSIDE_LAYERS` for the first three.
        shape: [out] or [out, in].
    """

    kind: str
    layer: int
    shape: tuple[int, ...]


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
    hidden, q, kv = shape.hidden, shape.q_rows, shape.kv_rows
    yield WeightTensor("embedding", (Part("embedding", OUTSIDE_LAYERS, (shape.vocab, hidden)),))
    for i in range(shape.layers):
        name = f"layers.{i}."
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
        yield WeightTensor(name + "gate_up", (Part("gate", i, (shape.ffn, hidden)), Part("up", i, (shape.ffn, hidden))))
        yield WeightTensor(name + "down", (Part("down", i, (hidden, shape.ffn)),))
    yield WeightTensor("norm", (Part("norm", OUTSIDE_LAYERS, (hidden,)),))
    if not shape.tie_embeddings:
        yield WeightTensor("lm_head", (Part("lm_head", OUTSIDE_LAYERS, (shape.vocab, hidden)),))
