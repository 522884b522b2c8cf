"""A model of random weights that costs next to nothing to compute, for benchmarks of everything but the model.

Four layers of a Llama and a tokenizer of single bytes, written as a folder in Hugging Face's layout.
"""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["TOKENS", "write_small_model"]

TOKENS = range(16, 272)
"""Tokens that prompts can be made of."""

_LAYERS, _HIDDEN, _HEADS, _KV_HEADS, _FFN, _VOCABULARY = 4, 128, 4, 2, 512, 288
_CONTEXT = 4096


def write_small_model(folder: Path) -> Path:
    """Writes the model, the same one each time; returns its folder."""
    import numpy as np
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    random = np.random.default_rng(0)
    kv = _KV_HEADS * _HIDDEN // _HEADS
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (_VOCABULARY, _HIDDEN),
        "model.norm.weight": (_HIDDEN,),
    }
    for layer in range(_LAYERS):
        for name, shape in (
            ("input_layernorm", (_HIDDEN,)),
            ("self_attn.q_proj", (_HIDDEN, _HIDDEN)),
            ("self_attn.k_proj", (kv, _HIDDEN)),
            ("self_attn.v_proj", (kv, _HIDDEN)),
            ("self_attn.o_proj", (_HIDDEN, _HIDDEN)),
            ("post_attention_layernorm", (_HIDDEN,)),
            ("mlp.gate_proj", (_FFN, _HIDDEN)),
            ("mlp.up_proj", (_FFN, _HIDDEN)),
            ("mlp.down_proj", (_HIDDEN, _FFN)),
        ):
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": _LAYERS,
        "hidden_size": _HIDDEN,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS,
        "intermediate_size": _FFN,
        "vocab_size": _VOCABULARY,
        "max_position_embeddings": _CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([f"<|{place}|>" for place in range(16)] + letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages[0]['content'] }}"}))
    return folder
