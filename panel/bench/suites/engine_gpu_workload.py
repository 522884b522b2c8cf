"""The offline workload that is published for small engines, and Qwen3-0.6B's shape for it. Pure.

256 prompts of random tokens, inputs and outputs of 100 to 1,024 tokens, drawn from seed 0 in nano-vllm's order
(its bench.py): 133,966 output tokens, temperature 0.6, no stop token counts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ....engine.model.shape import ModelShape

__all__ = ["QWEN3_0_6B", "TEMPERATURE", "Workload", "offline_workload"]

TEMPERATURE = 0.6
_LEAST, _MOST, _IDS = 100, 1024, 10_000

QWEN3_0_6B = ModelShape(
    architecture="Qwen3ForCausalLM",
    layers=28,
    hidden=1024,
    heads=16,
    kv_heads=8,
    head_dim=128,
    ffn=3072,
    vocab=151_936,
    rope_theta=1e6,
    rope_scaling=None,
    rms_eps=1e-6,
    tie_embeddings=True,
    context_length=40_960,
    qkv_bias=False,
    eos_ids=(),
    bos_id=None,
    qk_norm=True,
)


@dataclass(frozen=True, slots=True)
class Workload:
    """Prompts and how many tokens to generate for each."""

    prompts: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]

    @property
    def output_tokens(self) -> int:
        """Tokens to generate in all."""
        return sum(self.outputs)

    @property
    def places(self) -> int:
        """KV places that all sequences need at once."""
        return sum(len(prompt) + output for prompt, output in zip(self.prompts, self.outputs, strict=True))


def offline_workload(sequences: int = 256, seed: int = 0, *, least: int = _LEAST, most: int = _MOST) -> Workload:
    """Returns the workload; the published one by default."""
    draw = random.Random(seed)
    prompts = tuple(tuple(draw.randint(0, _IDS) for _ in range(draw.randint(least, most))) for _ in range(sequences))
    return Workload(prompts, tuple(draw.randint(least, most) for _ in range(sequences)))
