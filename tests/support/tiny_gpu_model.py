"""A tiny model with random weights and a recorder of graphs, for tests of the engine on GPUs that are made up."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pdpanel.engine.model.shape import ModelShape
from pdpanel.engine.model.weights import LayerWeights, Weights

__all__ = ["SHAPE", "Replays", "random_weights"]

SHAPE = ModelShape(
    architecture="Qwen3ForCausalLM",
    layers=2,
    hidden=48,
    heads=6,
    kv_heads=2,
    head_dim=16,
    ffn=64,
    vocab=96,
    rope_theta=1e4,
    rope_scaling=None,
    rms_eps=1e-5,
    tie_embeddings=False,
    context_length=256,
    qkv_bias=True,
    eos_ids=(),
    bos_id=None,
    qk_norm=True,
)


def random_weights(shape: ModelShape, device: torch.device) -> Weights:
    made = torch.Generator().manual_seed(5)

    def some(*size: int) -> torch.Tensor:
        return (torch.randn(size, generator=made) * 0.2).to(device)

    rows = shape.q_rows + 2 * shape.kv_rows
    layers = tuple(
        LayerWeights(
            attn_norm=some(shape.hidden) + 1,
            qkv=some(rows, shape.hidden),
            qkv_bias=some(rows),
            q_norm=some(shape.head_dim) + 1,
            k_norm=some(shape.head_dim) + 1,
            o=some(shape.hidden, shape.q_rows),
            ffn_norm=some(shape.hidden) + 1,
            gate_up=some(2 * shape.ffn, shape.hidden),
            down=some(shape.hidden, shape.ffn),
        )
        for _ in range(shape.layers)
    )
    return Weights(some(shape.vocab, shape.hidden), layers, some(shape.hidden) + 1, some(shape.vocab, shape.hidden))


class Replays:
    """A recorder that does the work again when it is replayed, as a graph would; counts what it recorded."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed: list[int] = []

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        number, self.recorded = self.recorded, self.recorded + 1

        def replay() -> None:
            self.replayed.append(number)
            work()

        return replay
