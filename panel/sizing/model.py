"""From a Hugging Face config.json to a model's sizes, by the keys that the file has.

Rules look at keys, never at a model's name. What cannot be sized is refused: a number that is silently wrong is
worse than none. Pure; whoever has a file parses it first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...engine.errors import ConfigError
from ...engine.model.shape import ModelShape
from . import layer_shapes as shapes
from .config_keys import ConfigKeys
from .facts import Layers, Mixer, ModelFacts
from .layer_pattern import Feed, Kind, feeds_of, kinds_of, layer_count, refuse_unknown_structure
from .precision import dtype_bytes, precision_named, precision_of_config

__all__ = ["ModelFacts", "facts_of_config", "facts_of_shape"]


def facts_of_config(config: Mapping[str, Any], name: str = "", *, quantisation: str | None = None) -> ModelFacts:
    """Returns the sizes of the decoder that a config.json describes.

    Args:
        config: the parsed file, as transformers 4 or 5 writes it; a nested text part is found.
        name: what to call the model; its architecture by default.
        quantisation: the format of the weights, where the file does not say or is wrong.

    Raises:
        ConfigError: a key is missing, has a wrong value, or describes layers that cannot be sized.
    """
    keys = ConfigKeys(config)
    refuse_unknown_structure(keys)
    count = layer_count(keys)
    if count > 10_000:
        raise ConfigError("num_hidden_layers", count, "is more than any model has", "give the model's own config.json")
    hidden, vocab = keys.number("hidden_size"), keys.number("vocab_size")
    kinds, feeds = kinds_of(keys, count), feeds_of(keys, count)
    plan = zip(kinds, feeds, strict=True)
    alike = Counter(_layer(keys.of_layer(index), *parts, kinds, hidden) for index, parts in enumerate(plan))
    layers = tuple(replace(layer, count=number) for layer, number in alike.items())
    layers = _with_shared_index(keys, layers, count)
    dtype = str(keys.raw("dtype") or "bfloat16")
    first = _attending(layers)
    routed = next((group for group in layers if group.experts), None)
    return ModelFacts(
        name=name or keys.architecture or "the model",
        layers=layers,
        hidden=hidden,
        heads=first.heads,
        kv_heads=first.kv_heads,
        head_dim=first.head_dim,
        vocab=vocab,
        attention=_attention_name(layers, first),
        window=next((group.window for group in layers if group.window), None),
        kv_lora_rank=keys.number("kv_lora_rank", 0, least=0),
        qk_rope_head_dim=keys.number("qk_rope_head_dim", 0, least=0),
        embedding_parameters=vocab * hidden,
        head_parameters=0 if keys.has("tie_word_embeddings") else vocab * hidden,
        norm_parameters=hidden,
        context_length=keys.number("max_position_embeddings") if keys.has("max_position_embeddings") else None,
        dtype_bytes=dtype_bytes(dtype, "torch_dtype"),
        precision=precision_named(quantisation)
        if quantisation
        else precision_of_config(keys.raw("quantization_config"), dtype),
        experts=routed.experts if routed else 0,
        experts_active=routed.experts_active if routed else 0,
        assumes=_assumes(keys),
    )


def facts_of_shape(shape: ModelShape, name: str = "") -> ModelFacts:
    """Returns the sizes of a model that the bundled engine has read, with weights in float32 as it computes."""
    config = {
        "architectures": [shape.architecture],
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.ffn,
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.context_length,
        "tie_word_embeddings": shape.tie_embeddings,
        "dtype": "float32",
    }
    return facts_of_config(config, name)


def _layer(keys: ConfigKeys, kind: Kind, feed: Feed, kinds: tuple[Kind, ...], hidden: int) -> Layers:
    both = Kind.WINDOW in kinds and Kind.FULL in kinds
    if kind is Kind.MAMBA or (kind is Kind.DELTA and keys.has("mamba_num_heads")):
        layer = shapes.mamba(keys, hidden=hidden)
    elif kind is Kind.DELTA:
        layer = shapes.delta(keys, hidden=hidden)
    elif kind is Kind.NONE:
        layer = Layers(1, Mixer.NONE)
    elif keys.has("kv_lora_rank") and kind is Kind.FULL:
        layer = shapes.latent(keys, hidden=hidden)
    else:
        layer = shapes.attention(keys, window=kind is Kind.WINDOW, hidden=hidden, other_window=both)
    alone = kind is Kind.NONE or feed is Feed.NONE
    norms = 1 if alone else keys.number("_norms", 2)
    layer = replace(layer, copied_parameters=layer.copied_parameters + norms * hidden)
    if feed in {Feed.DENSE, Feed.BOTH}:
        dense = shapes.gate_count(keys) * hidden * shapes.feed_width(keys, hidden=hidden)
        layer = replace(layer, dense_parameters=dense)
    if feed in {Feed.EXPERTS, Feed.BOTH}:
        one, beside, router = shapes.expert_sizes(keys, hidden=hidden)
        experts = keys.number("num_experts")
        active = keys.number("num_experts_per_tok")
        if active > experts:
            problem = f"is more than the {experts} experts"
            raise ConfigError("num_experts_per_tok", active, problem, "give the model's own config.json")
        layer = replace(
            layer,
            copied_parameters=layer.copied_parameters + router,
            dense_parameters=layer.dense_parameters + beside,
            expert_parameters=one,
            experts=experts,
            experts_active=active,
        )
    return layer


def _with_shared_index(keys: ConfigKeys, layers: tuple[Layers, ...], count: int) -> tuple[Layers, ...]:
    """Spreads the index keys over the layers when some use the index of an earlier one (`indexer_types`)."""
    types = keys.per_layer("indexer_types", count)
    if types is None:
        return layers
    share = sum(kind == "full" for kind in types) / count
    return tuple(replace(group, index_bytes=round(group.index_bytes * share)) for group in layers)


def _attending(layers: tuple[Layers, ...]) -> Layers:
    ranked = (Mixer.FULL, Mixer.LATENT, Mixer.SLIDING)
    found = [group for kind in ranked for group in layers if group.mixer is kind]
    if not found:
        raise ConfigError("layer_types", None, "no layer keeps a KV cache", "use a model with attention")
    return found[0]


def _attention_name(layers: tuple[Layers, ...], first: Layers) -> str:
    if first.mixer is Mixer.LATENT:
        name = "MLA"
    elif first.kv_heads == first.heads:
        name = "MHA"
    else:
        name = "MQA" if first.kv_heads == 1 else "GQA"
    others = [kind for kind in (Mixer.SLIDING, Mixer.LINEAR) if any(group.mixer is kind for group in layers)]
    return " with ".join([name, " and ".join(others)]) if others else name


def _assumes(keys: ConfigKeys) -> tuple[str, ...]:
    found = ["Biases of projections are not counted; they are under 0.1 % of a model."]
    if keys.nested:
        found.append("The vision and audio parts are not counted.")
    if any(keys.has(name) for name in ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")):
        found.append("Layers for multi-token prediction are not counted.")
    if not keys.raw("dtype"):
        found.append("The file names no dtype; bfloat16 is assumed.")
    return tuple(found)
