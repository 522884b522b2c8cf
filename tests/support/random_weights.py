"""Shapes and random weights of small models, made in memory: the same numbers in every process for the same seed."""

from __future__ import annotations

from dataclasses import replace

import torch
from pdpanel.engine.model.shape import ModelShape
from pdpanel.engine.model.weights import LayerWeights, Weights

__all__ = ["SHAPES", "random_weights", "small_shape"]


def small_shape(heads: int = 4, kv_heads: int = 2, *, head_dim: int = 16, ffn: int = 96) -> ModelShape:
    """Returns a Llama of two layers."""
    return ModelShape(
        architecture="LlamaForCausalLM",
        layers=2,
        hidden=64,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=ffn,
        vocab=259,  # no number of ranks divides it
        rope_theta=10000.0,
        rope_scaling=None,
        rms_eps=1e-5,
        tie_embeddings=False,
        context_length=256,
        qkv_bias=False,
        eos_ids=(),
        bos_id=None,
    )


SHAPES = {
    "llama": small_shape(),
    "llama tied, heads of 9 and 3": replace(small_shape(9, 3, ffn=101), tie_embeddings=True),
    "qwen2": replace(small_shape(12, 4), architecture="Qwen2ForCausalLM", qkv_bias=True),
    "qwen3": replace(small_shape(8, 2, head_dim=8, ffn=99), architecture="Qwen3ForCausalLM", qk_norm=True),
}
"""By a name for tests; all of them can be spread over 1 to 4 ranks."""


def random_weights(shape: ModelShape, seed: int = 1) -> Weights:
    """Returns weights large enough that logits differ clearly."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*sizes: int) -> torch.Tensor:
        return torch.randn(sizes, generator=generator) * 0.2

    rows = shape.q_rows + 2 * shape.kv_rows

    def layer() -> LayerWeights:
        return LayerWeights(
            attn_norm=1 + draw(shape.hidden),
            qkv=draw(rows, shape.hidden),
            qkv_bias=draw(rows) if shape.qkv_bias else None,
            q_norm=1 + draw(shape.head_dim) if shape.qk_norm else None,
            k_norm=1 + draw(shape.head_dim) if shape.qk_norm else None,
            o=draw(shape.hidden, shape.q_rows),
            ffn_norm=1 + draw(shape.hidden),
            gate_up=draw(2 * shape.ffn, shape.hidden),
            down=draw(shape.hidden, shape.ffn),
        )

    embedding = draw(shape.vocab, shape.hidden)
    layers = tuple(layer() for _ in range(shape.layers))
    lm_head = embedding if shape.tie_embeddings else draw(shape.vocab, shape.hidden)
    return Weights(embedding, layers, 1 + draw(shape.hidden), lm_head)
