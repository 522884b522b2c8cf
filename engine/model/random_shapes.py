"""What config.json says of the models of random weights that pdpanel makes itself, and which tensors each has.

Small models show every topology on one host: what they say means nothing, how they are split does. Names of tensors are
those of the Hugging Face Hub. Pure data and arithmetic; `random_models` writes the files, the panel's planner reads
heads and experts from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError

__all__ = ["IMAGE_TOKEN", "PREFIX", "SHAPES", "TOKENS", "RandomTensor", "random_config", "random_tensors"]

PREFIX = "random:"
"""What the name of such a model begins with where a model is named."""

TOKENS = range(16, 272)
"""Tokens that prompts can be made of: one byte each."""

IMAGE_TOKEN = 3
"""The place of an image in a prompt of a model that sees."""

_TINY: dict[str, Any] = {
    "num_hidden_layers": 3,
    "hidden_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 192,
    "vocab_size": 512,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
_LLAMA: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
_TWELVE: dict[str, Any] = {**_TINY, "hidden_size": 192, "num_attention_heads": 12, "head_dim": 16}
_EIGHT: dict[str, Any] = {**_TINY, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 16}
_IMAGE_SIZE, _PATCH = 56, 14

SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "num_hidden_layers": 28,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 3072,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
    },
    "llama-tiny": {**_LLAMA, **_TINY},
    "qwen2-tiny": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", **_TINY, "tie_word_embeddings": True},
    "qwen3-tiny": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", **_TINY, "head_dim": 64},
    "mistral-tiny": {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        **_TINY,
        "num_attention_heads": 6,
        "sliding_window": 1024,
    },
    "llama-12h": {**_LLAMA, **_TWELVE, "num_key_value_heads": 12},
    "llama-gqa": {**_LLAMA, **_TWELVE, "num_key_value_heads": 4},
    "mixtral-8e": {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        **_EIGHT,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "sliding_window": None,
    },
    "qwen3-moe-8e": {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        **_EIGHT,
        "head_dim": 32,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 96,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "norm_topk_prob": True,
        "use_sliding_window": False,
    },
    "llava": {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": IMAGE_TOKEN,
        "image_seq_length": (_IMAGE_SIZE // _PATCH) ** 2,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "multimodal_projector_bias": True,
        "tie_word_embeddings": False,
        "text_config": {**_LLAMA, **_EIGHT, "hidden_act": "silu", "torch_dtype": "bfloat16"},
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "image_size": _IMAGE_SIZE,
            "patch_size": _PATCH,
            "num_channels": 3,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "projection_dim": 64,
            "torch_dtype": "bfloat16",
        },
    },
}
"""By name. The first one has the sizes of Qwen/Qwen3-0.6B, for measurements; the others cost next to nothing."""

_COMMON: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16"}


@dataclass(frozen=True, slots=True)
class RandomTensor:
    """One tensor: how far its values lie from `mean`."""

    name: str
    shape: tuple[int, ...]
    spread: float
    mean: float = 0.0


def random_config(name: str) -> dict[str, Any]:
    """Returns what config.json of the random model `name` says.

    Raises:
        ConfigError: there is no such model; it names those that there are.
    """
    if name not in SHAPES:
        raise ConfigError("shape", name, "there is no such model of random weights", f"use one of {', '.join(SHAPES)}")
    shape = SHAPES[name]
    return {**shape, **({} if "text_config" in shape else {"hidden_act": "silu"}), **_COMMON}


def random_tensors(config: Mapping[str, Any]) -> tuple[RandomTensor, ...]:
    """Returns the tensors of a model, in the order of the file.

    Args:
        config: of a decoder of the Llama family, with experts or without, or of a LLaVA.
    """
    if "vision_config" in config:
        return tuple((*_vision(config), *_decoder(config["text_config"], "language_model.")))
    return tuple(_decoder(config))


def _matrix(name: str, rows: int, columns: int) -> RandomTensor:
    """Keeps the size of what it is multiplied with."""
    return RandomTensor(f"{name}.weight", (rows, columns), columns**-0.5)


def _norm(name: str, width: int) -> RandomTensor:
    return RandomTensor(f"{name}.weight", (width,), 0.1, 1.0)


def _bias(name: str, width: int) -> RandomTensor:
    return RandomTensor(f"{name}.bias", (width,), 0.1)


def _decoder(config: Mapping[str, Any], prefix: str = "") -> Iterator[RandomTensor]:
    hidden, vocab, head = config["hidden_size"], config["vocab_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    kind = config["model_type"]
    yield _matrix(f"{prefix}model.embed_tokens", vocab, hidden)
    for layer in range(config["num_hidden_layers"]):
        name = f"{prefix}model.layers.{layer}"
        yield _norm(f"{name}.input_layernorm", hidden)
        for part, rows in (("q", q), ("k", kv), ("v", kv)):
            yield _matrix(f"{name}.self_attn.{part}_proj", rows, hidden)
        if kind == "qwen2":
            for part, rows in (("q", q), ("k", kv), ("v", kv)):
                yield _bias(f"{name}.self_attn.{part}_proj", rows)
        if kind.startswith("qwen3"):
            yield _norm(f"{name}.self_attn.q_norm", head)
            yield _norm(f"{name}.self_attn.k_norm", head)
        yield _matrix(f"{name}.self_attn.o_proj", hidden, q)
        yield _norm(f"{name}.post_attention_layernorm", hidden)
        yield from _feed_forward(config, name, hidden)
    yield _norm(f"{prefix}model.norm", hidden)
    if not config["tie_word_embeddings"]:
        yield _matrix(f"{prefix}lm_head", vocab, hidden)


def _feed_forward(config: Mapping[str, Any], name: str, hidden: int) -> Iterator[RandomTensor]:
    kind, experts = config["model_type"], config.get("num_local_experts") or config.get("num_experts") or 0
    if not experts:
        yield from _gated(f"{name}.mlp", ("gate_proj", "up_proj", "down_proj"), config["intermediate_size"], hidden)
        return
    is_mixtral = kind == "mixtral"
    place = f"{name}.{'block_sparse_moe' if is_mixtral else 'mlp'}"
    parts = ("w1", "w3", "w2") if is_mixtral else ("gate_proj", "up_proj", "down_proj")
    yield _matrix(f"{place}.gate", experts, hidden)
    for expert in range(experts):
        width = config["intermediate_size"] if is_mixtral else config["moe_intermediate_size"]
        yield from _gated(f"{place}.experts.{expert}", parts, width, hidden)


def _gated(place: str, parts: tuple[str, str, str], width: int, hidden: int) -> Iterator[RandomTensor]:
    gate, up, down = parts
    yield _matrix(f"{place}.{gate}", width, hidden)
    yield _matrix(f"{place}.{up}", width, hidden)
    yield _matrix(f"{place}.{down}", hidden, width)


def _vision(config: Mapping[str, Any]) -> Iterator[RandomTensor]:
    """Yields CLIP's tower and the projector behind it."""
    vision = config["vision_config"]
    width, ffn, patch = vision["hidden_size"], vision["intermediate_size"], vision["patch_size"]
    channels, places = vision["num_channels"], (vision["image_size"] // patch) ** 2 + 1
    tower = "vision_tower.vision_model"
    yield RandomTensor(f"{tower}.embeddings.class_embedding", (width,), 0.5)
    area = channels * patch * patch
    shape = (width, channels, patch, patch)
    yield RandomTensor(f"{tower}.embeddings.patch_embedding.weight", shape, area**-0.5)
    yield RandomTensor(f"{tower}.embeddings.position_embedding.weight", (places, width), 0.5)
    yield from _layer_norm(f"{tower}.pre_layrnorm", width)  # so spelled by CLIP
    for layer in range(vision["num_hidden_layers"]):
        name = f"{tower}.encoder.layers.{layer}"
        for part in ("k", "v", "q", "out"):
            yield from _linear(f"{name}.self_attn.{part}_proj", width, width)
        yield from _layer_norm(f"{name}.layer_norm1", width)
        yield from _linear(f"{name}.mlp.fc1", ffn, width)
        yield from _linear(f"{name}.mlp.fc2", width, ffn)
        yield from _layer_norm(f"{name}.layer_norm2", width)
    yield from _layer_norm(f"{tower}.post_layernorm", width)
    hidden = config["text_config"]["hidden_size"]
    yield from _linear("multi_modal_projector.linear_1", hidden, width)
    yield from _linear("multi_modal_projector.linear_2", hidden, hidden)


def _linear(name: str, rows: int, columns: int) -> Iterator[RandomTensor]:
    yield _matrix(name, rows, columns)
    yield _bias(name, rows)


def _layer_norm(name: str, width: int) -> Iterator[RandomTensor]:
    yield _norm(name, width)
    yield _bias(name, width)
