"""Which layer mixes tokens how, and which has a dense feed-forward part, experts, or neither.

Families say it in a dozen ways: lists of names, strings of letters, intervals, first layers. Each way is a rule on
keys. Called by `model`; knows no sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType

from ...engine.errors import ConfigError
from .config_keys import ConfigKeys

__all__ = ["Feed", "Kind", "feeds_of", "kinds_of", "layer_count", "refuse_unknown_structure"]


class Kind(Enum):
    """How a layer mixes tokens, as a config.json says it."""

    FULL = auto()
    WINDOW = auto()
    DELTA = auto()
    MAMBA = auto()
    NONE = auto()


class Feed(Enum):
    """What a layer does to each token alone."""

    DENSE = auto()
    EXPERTS = auto()
    BOTH = auto()
    NONE = auto()


_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "full_attention": Kind.FULL,
        "attention": Kind.FULL,
        "indexed_attention": Kind.FULL,
        "sliding_attention": Kind.WINDOW,
        "chunked_attention": Kind.WINDOW,
        "linear_attention": Kind.DELTA,
        "mamba": Kind.MAMBA,
        "moe": Kind.NONE,
        "mlp": Kind.NONE,
    }
)
# Where blocks stand alone, one is a mixer without a feed-forward part, or the other way round.
_ALONE: Mapping[str, Feed] = MappingProxyType({"moe": Feed.EXPERTS, "mlp": Feed.DENSE})
_LETTERS: Mapping[str, str] = MappingProxyType({"M": "mamba", "*": "attention", "E": "moe", "-": "mlp"})

_INTERVAL = "moe_layer_interval"

_UNKNOWN: Mapping[str, str] = MappingProxyType(
    {
        "compress_ratios": "compresses its KV cache by layer",
        "block_configs": "has layers that differ one by one",
        "num_kv_shared_layers": "has layers that share their KV cache",
        "hidden_size_per_layer_input": "has embeddings in each layer",
        "cross_attention_layers": "has layers that attend to an image",
        "is_encoder_decoder": "has an encoder and a decoder",
        "sparse_attention_config": "reads its KV cache sparsely in a way of its own",
        "mamba_d_ssm": "runs attention and Mamba side by side in a layer",
        "mamba_d_state": "has Mamba layers of the first kind",
        "state_size": "has Mamba layers of the first kind",
    }
)


def refuse_unknown_structure(keys: ConfigKeys) -> None:
    """Refuses what would make every number wrong.

    Raises:
        ConfigError: the file describes layers that cannot be sized.
    """
    remedy = "give the weights and KV bytes of a token yourself, or use another model"
    for name, what in _UNKNOWN.items():
        if keys.has(name):
            raise ConfigError(name, keys.raw(name), f"this model {what}, which cannot be sized", remedy)
    kinds = keys.raw("attn_type_list")
    if isinstance(kinds, list) and any(kind != 1 for kind in kinds):
        raise ConfigError("attn_type_list", kinds, "has layers without softmax attention", remedy)


def layer_count(keys: ConfigKeys) -> int:
    """Returns the number of layers: `num_hidden_layers`, or the length of the pattern.

    Raises:
        ConfigError: neither is there.
    """
    pattern = keys.raw("layer_types") or keys.raw("hybrid_override_pattern")
    return keys.number("num_hidden_layers", len(pattern) if isinstance(pattern, list | str) and pattern else None)


def kinds_of(keys: ConfigKeys, layers: int) -> tuple[Kind, ...]:
    """Returns how each layer mixes tokens.

    Raises:
        ConfigError: a layer is of an unknown kind, or Mamba or linear layers are spoken of and not placed.
    """
    names = _names(keys, layers)
    if names is not None:
        found: list[Kind] = []
        for index, name in enumerate(names):
            if name not in _KINDS:
                problem = f"layer {index} is of a kind that cannot be sized"
                raise ConfigError("layer_types", name, problem, f"known kinds are {', '.join(_KINDS)}")
            found.append(_KINDS[name])
        has_window = _window_key(keys) is not None
        return tuple(Kind.FULL if kind is Kind.WINDOW and not has_window else kind for kind in found)
    linear = keys.raw("linear_attn_config")
    if isinstance(linear, Mapping):
        full = linear.get("full_attn_layers")
        if not isinstance(full, list):
            raise ConfigError("linear_attn_config", linear, "names no full_attn_layers", "give the model's own file")
        return tuple(Kind.FULL if index + 1 in full else Kind.DELTA for index in range(layers))
    if keys.has("linear_num_value_heads"):
        step = keys.number("full_attention_interval", 4)
        return tuple(Kind.DELTA if (index + 1) % step else Kind.FULL for index in range(layers))
    if keys.has("mamba_num_heads"):
        raise ConfigError("layer_types", None, "Mamba layers are not placed", "give the model's complete config.json")
    return _windows(keys, layers)


def _names(keys: ConfigKeys, layers: int) -> tuple[str, ...] | None:
    letters = keys.raw("hybrid_override_pattern")
    if isinstance(letters, str) and letters:
        if len(letters) != layers or set(letters) - set(_LETTERS):
            problem = f"is no pattern of {layers} layers in the letters {' '.join(_LETTERS)}"
            raise ConfigError("hybrid_override_pattern", letters, problem, "give the model's own config.json")
        return tuple(_LETTERS[letter] for letter in letters)
    names = keys.per_layer("layer_types", layers)
    return None if names is None else tuple(str(name) for name in names)


def _window_key(keys: ConfigKeys) -> str | None:
    if keys.raw("use_sliding_window") is False:
        return None
    return next((name for name in ("sliding_window", "attention_chunk_size") if keys.has(name)), None)


def _windows(keys: ConfigKeys, layers: int) -> tuple[Kind, ...]:
    if _window_key(keys) is None:
        return (Kind.FULL,) * layers
    listed = keys.per_layer("hybrid_layer_pattern", layers)
    if listed is None and _window_key(keys) == "attention_chunk_size":
        listed = keys.per_layer("no_rope_layers", layers)
    if listed is not None:
        return tuple(Kind.WINDOW if entry else Kind.FULL for entry in listed)
    if keys.has("sliding_window_pattern"):
        step = keys.number("sliding_window_pattern")
        return tuple(Kind.WINDOW if (index + 1) % step else Kind.FULL for index in range(layers))
    first = keys.number("max_window_layers", 0, least=0) if keys.has("use_sliding_window") else 0
    return tuple(Kind.WINDOW if index >= first else Kind.FULL for index in range(layers))


def feeds_of(keys: ConfigKeys, layers: int) -> tuple[Feed, ...]:
    """Returns what each layer does to a token alone.

    Raises:
        ConfigError: a list of layers is of another length, or experts are placed in an unknown way.
    """
    names = _names(keys, layers)
    if names is not None and (keys.has("hybrid_override_pattern") or any(name in _ALONE for name in names)):
        return tuple(_ALONE.get(name, Feed.NONE) for name in names)
    if not keys.has("num_experts") or keys.raw("enable_moe_block") is False:
        return (Feed.DENSE,) * layers
    experts = Feed.BOTH if keys.has("enable_moe_block") else Feed.EXPERTS
    return tuple(experts if routed else Feed.DENSE for routed in _routed(keys, layers))


def _routed(keys: ConfigKeys, layers: int) -> tuple[bool, ...]:
    named = keys.per_layer("mlp_layer_types", layers)
    if named is not None:
        return tuple(name == "sparse" for name in named)
    flags = keys.raw("moe_layer_freq")
    if isinstance(flags, list) and flags:
        return tuple(bool(flag) for flag in keys.per_layer("moe_layer_freq", layers) or ())
    listed = keys.raw("moe_layers_enum")
    if isinstance(listed, str) and listed:
        chosen = {part.strip() for part in listed.split(",")}
        return tuple(str(index) in chosen for index in range(layers))
    first = keys.number("first_k_dense_replace", keys.number("moe_layer_start_index", 0, least=0), least=0)
    last = keys.number("moe_layer_end_index", layers, least=-1)
    every = keys.number("moe_layer_freq", 1)
    step = keys.number("decoder_sparse_step", keys.number("interleave_moe_layer_step", keys.number(_INTERVAL, 1)))
    dense = keys.raw("mlp_only_layers")
    excluded = dense if isinstance(dense, list) else []
    return tuple(
        first <= index <= (last if last >= 0 else layers)
        and index % every == 0
        and (index + 1) % step == 0
        and index not in excluded
        for index in range(layers)
    )
