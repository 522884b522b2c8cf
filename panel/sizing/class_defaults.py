"""What transformers' config classes assume for keys that a config.json leaves out.

`save_pretrained` writes only what differs from the class, so the defaults are part of the file's format. Source:
the `configuration_*.py` files of transformers 5.23. Keys that begin with `_` are not in any file: they say what the
model's code does without a key for it. Data; `config_keys` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["CLASS_DEFAULTS"]

_TIED: Mapping[str, Any] = {"tie_word_embeddings": True}
_GEMMA3 = {
    **_TIED,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
    "max_position_embeddings": 131072,
    "vocab_size": 262208,
    "_norms": 4,
}

CLASS_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "gemma": _TIED,
        "gemma2": {**_TIED, "head_dim": 256, "sliding_window": 4096, "sliding_window_pattern": 2, "_norms": 4},
        "gemma3": _GEMMA3,
        "gemma3_text": _GEMMA3,
        "gemma4": {**_TIED, "_norms": 4},
        "gemma4_text": {**_TIED, "_norms": 4},
        "falcon": {**_TIED, "max_position_embeddings": 2048, "_gated": False},
        "gpt2": {**_TIED, "_gated": False},
        "gpt_bigcode": {**_TIED, "multi_query": True, "_gated": False},
        "bloom": {**_TIED, "max_position_embeddings": 2048, "_gated": False},
        "opt": {**_TIED, "_gated": False},
        "mpt": {**_TIED, "expansion_ratio": 4, "_gated": False},
        "gpt_neox": {"_gated": False},
        "phi": {"_gated": False},
        "starcoder2": {**_TIED, "_gated": False},
        "nemotron": {"_gated": False},
        "nemotron_h": {"_gated": False},
        "cohere": _TIED,
        "cohere2": {**_TIED, "sliding_window_pattern": 4},
        "smollm3": _TIED,
        "qwen3_next": {"attn_output_gate": True},
        "llama4_text": {"sliding_window_pattern": 4, "_shared_expert_is_dense_size": True},
    }
)
