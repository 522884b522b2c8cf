"""The numbers that describe a model's experts, and how a transformers config.json gives them.

A layer with experts has, in place of one feed-forward network, `count` small ones and a router that picks a few of
them for each token. Knows nothing of tensors. `shape` reads it; layouts, the forward pass and shards use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .config_values import integer, integers, refuse

__all__ = ["MOE_ARCHITECTURES", "ExpertShape", "experts_from_hf_config", "experts_from_json"]

MOE_ARCHITECTURES = ("MixtralForCausalLM", "Qwen3MoeForCausalLM")

_MOST = 1 << 16
"""Experts of a layer; more are taken for a damaged file, before anything is made for each of them."""


@dataclass(frozen=True, slots=True)
class ExpertShape:
    """The experts of a model.

    Attributes:
        count: experts of each layer that has them.
        per_token: experts that compute each token.
        ffn: width of one expert.
        normalised: True when the shares of a token's experts are scaled to a sum of one.
        step: of so many layers, the last one has experts.
        dense_layers: layers without experts all the same.
    """

    count: int
    per_token: int
    ffn: int
    normalised: bool
    step: int = 1
    dense_layers: tuple[int, ...] = ()

    def in_layer(self, layer: int) -> bool:
        """Returns whether this layer has experts; the rule is that of transformers' Qwen3MoeDecoderLayer."""
        return (layer + 1) % self.step == 0 and layer not in self.dense_layers


def experts_from_json(data: Mapping[str, Any] | None) -> ExpertShape | None:
    """Returns the experts of a shape that was written as plain JSON values."""
    return None if data is None else ExpertShape(**{**data, "dense_layers": tuple(data["dense_layers"])})


def experts_from_hf_config(config: Mapping[str, Any], architecture: str, source: str) -> ExpertShape | None:
    """Returns the experts that a config.json describes; None for an architecture without.

    Args:
        config: as transformers 4 or 5 writes it.
        source: the model as the user named it, for errors.

    Raises:
        ConfigError: a number is missing, or the numbers do not fit each other.
    """
    if architecture not in MOE_ARCHITECTURES:
        return None
    # Each class had a name of its own in transformers 4; 5 takes either one for both.
    count = integer(config, "num_experts" if config.get("num_experts") is not None else "num_local_experts", source)
    per_token = integer(config, "num_experts_per_tok", source)
    if count > _MOST:
        raise refuse(source, f"its {count} experts in each layer are more than {_MOST}")
    if not 1 <= per_token <= count:
        raise refuse(source, f"its num_experts_per_tok is {per_token} of {count} experts")
    is_mixtral = architecture == "MixtralForCausalLM"
    width = "intermediate_size" if is_mixtral else "moe_intermediate_size"
    ffn = integer(config, width, source)
    if ffn < 1:
        raise refuse(source, f"its {width} is {ffn}")
    if is_mixtral:
        return ExpertShape(count, per_token, ffn, normalised=True)
    step = integer(config, "decoder_sparse_step", source, default=1)
    if step < 1:
        raise refuse(source, f"its decoder_sparse_step is {step}")
    dense = integers(config.get("mlp_only_layers"), "mlp_only_layers", source, "a layer's number")
    return ExpertShape(count, per_token, ffn, bool(config.get("norm_topk_prob", False)), step, dense)
