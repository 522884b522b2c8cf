"""Tiny random models with experts, saved by transformers and read by the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pdpanel.engine.config import read_environment
from pdpanel.engine.model.shape import ModelShape
from pdpanel.engine.model.store import resolve_model
from pdpanel.engine.model.weights import Weights, load_weights
from transformers import (
    AutoModelForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

__all__ = ["MODELS", "TinyMoe", "make_tiny_moe", "write_number_tokenizer"]

_SIZES: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
_QWEN: dict[str, Any] = {**_SIZES, "moe_intermediate_size": 40, "head_dim": 32, "num_experts": 8}

MODELS: dict[str, Callable[[], Any]] = {
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**_SIZES, num_local_experts=6, num_experts_per_tok=2)),
    "mixtral tied, window": lambda: MixtralForCausalLM(
        MixtralConfig(**_SIZES, num_local_experts=4, num_experts_per_tok=1, tie_word_embeddings=True, sliding_window=96)
    ),
    "qwen3-moe": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**_QWEN, num_experts_per_tok=3, norm_topk_prob=True)),
    "qwen3-moe, shares as they are, dense layers": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            **{**_QWEN, "num_hidden_layers": 5}, num_experts_per_tok=2, decoder_sparse_step=2, mlp_only_layers=[3]
        )
    ),
}


@dataclass(frozen=True)
class TinyMoe:
    """A model's folder as transformers saved it, and what transformers and the engine make of it."""

    folder: Path
    theirs: Any
    shape: ModelShape
    weights: Weights


def make_tiny_moe(name: str, folder: Path) -> TinyMoe:
    """Makes one of `MODELS` below `folder`."""
    torch.manual_seed(3)
    made = MODELS[name]()
    for parameter in made.parameters():  # the default initialisation makes all logits alike
        parameter.data.normal_(0, 0.2)
    made.save_pretrained(folder / "m")
    write_number_tokenizer(folder / "m")
    resolved = resolve_model(folder / "m", read_environment({"PDPANEL_CACHE_DIR": str(folder / "cache")}))
    theirs = AutoModelForCausalLM.from_pretrained(folder / "m", dtype=torch.float32).eval()
    theirs.generation_config.update(eos_token_id=None, pad_token_id=0)
    return TinyMoe(folder / "m", theirs, resolved.shape, load_weights(resolved.directory, resolved.shape))


def write_number_tokenizer(folder: Path) -> None:
    """Writes a tokenizer whose words are numbers."""
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE(vocab={str(i): i for i in range(256)}, merges=[])).save(str(folder / "tokenizer.json"))
