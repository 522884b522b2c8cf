"""A config.json as a mapping with one name per fact: spellings of families, class defaults, checked numbers.

Owns the words that families use for the same thing. Knows nothing of what the numbers mean. Called by `model`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import Any

from ...engine.errors import ConfigError
from .class_defaults import CLASS_DEFAULTS

__all__ = ["ConfigKeys"]

_MOST = 1 << 40
_TEXT_PARTS = ("text_config", "language_config", "llm_config", "thinker_config")

# The first name is the one that is used here; the others are what other families write.
_SPELLINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
        "hidden_size": ("n_embd", "d_model"),
        "num_attention_heads": ("n_head", "n_heads"),
        "num_key_value_heads": ("num_kv_heads", "num_attention_groups", "multi_query_group_num"),
        "head_dim": ("attention_head_dim", "kv_channels"),
        "intermediate_size": ("ffn_hidden_size", "n_inner", "ffn_dim"),
        "vocab_size": ("padded_vocab_size",),
        "max_position_embeddings": ("n_positions", "seq_length", "max_seq_len", "max_sequence_length"),
        "num_experts": ("num_local_experts", "n_routed_experts", "moe_num_experts"),
        "num_experts_per_tok": ("num_experts_per_token", "experts_per_token", "top_k_experts", "moe_topk", "moe_k"),
        "n_shared_experts": ("num_shared_experts", "moe_num_shared_experts"),
        "shared_expert_intermediate_size": (
            "moe_shared_expert_intermediate_size",
            "share_expert_dim",
            "shared_intermediate_size",
        ),
        "expert_input_size": ("moe_latent_size", "routed_expert_hidden_size"),
        "sliding_window_pattern": ("_sliding_window_pattern",),
        "layer_types": ("layers_block_type",),
        "dtype": ("torch_dtype",),
        "qkv_bias": ("attention_bias",),
    }
)


class ConfigKeys:
    """The part of a config.json that describes the decoder.

    Args:
        config: the parsed file; a nested `text_config` is taken, with the outer keys behind it.

    Raises:
        ConfigError: it is no object.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        if not isinstance(config, Mapping):
            raise ConfigError("config.json", config, "is no object", "give the model's own config.json")
        inner = next((config[name] for name in _TEXT_PARTS if isinstance(config.get(name), Mapping)), None)
        self.nested = inner is not None
        if isinstance(inner, Mapping) and isinstance(inner.get("text_config"), Mapping):
            inner = inner["text_config"]
        # What the outer object says of the whole (dtype, quantisation, tied embeddings) holds for a silent inner one.
        outer = {
            key: config[key]
            for key in ("dtype", "torch_dtype", "quantization_config", "tie_word_embeddings")
            if inner is not None and config.get(key) is not None
        }
        self._values: Mapping[str, Any] = {**outer, **inner} if inner is not None else config
        model_type = self._values.get("model_type") or config.get("model_type")
        self.model_type = model_type if isinstance(model_type, str) else ""
        self._defaults = CLASS_DEFAULTS.get(self.model_type, {})

    @property
    def architecture(self) -> str:
        """The class named in the file, or else its model type; empty when it names neither."""
        names = self._values.get("architectures")
        return str(names[0]) if isinstance(names, list) and names else self.model_type

    def of_layer(self, index: int) -> ConfigKeys:
        """Returns the keys as they hold for one layer: `per_layer_config` has what differs from the rest."""
        every = self._values.get("per_layer_config")
        own = every.get(str(index)) if isinstance(every, Mapping) else None
        if not isinstance(own, Mapping):
            return self
        return ConfigKeys({**self._values, **own, "model_type": self.model_type, "per_layer_config": None})

    def raw(self, name: str) -> Any:
        """Returns the value in any of the name's spellings, else the class's default; None when there is neither."""
        for spelling in (name, *_SPELLINGS.get(name, ())):
            value = self._values.get(spelling)
            if value is not None:
                return value
        return self._defaults.get(name)

    def has(self, name: str) -> bool:
        """True when the file, or its class, gives the name a value that is not empty, zero or false."""
        return bool(self.raw(name))

    def number(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """Returns a whole number of at least `least`.

        Raises:
            ConfigError: it is missing without a default, or is no such number.
        """
        value = self.raw(name)
        if value is None and default is not None:
            return default
        if value is None:
            raise ConfigError(name, None, "is missing from config.json", "give the model's complete config.json")
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]  # Some families write one number per layer.
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value % 1:
            raise ConfigError(name, value, "is not a whole number", "give the model's own config.json")
        if not least <= value <= _MOST:
            raise ConfigError(name, value, f"is not between {least} and {_MOST}", "give the model's own config.json")
        return int(value)

    def per_layer(self, name: str, layers: int) -> tuple[Any, ...] | None:
        """Returns a list with one entry per layer; None when the file has none.

        Raises:
            ConfigError: it is no list, or has another length.
        """
        value = self.raw(name)
        if value is None or value == []:
            return None
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ConfigError(name, value, "is no list with one entry per layer", "give the model's own config.json")
        # Layers for multi-token prediction may follow; they are not counted.
        if len(value) < layers:
            problem = f"has {len(value)} entries for {layers} layers"
            raise ConfigError(name, value, problem, "give the model's own config.json")
        return tuple(value[:layers])
