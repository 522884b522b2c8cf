"""The numbers that describe a Llama-family decoder, and how a transformers config.json gives them.

Owns which architectures and rope types are served; everything else is refused by name. Knows nothing of
tensors, files or GGUF. Called by the readers of model files, the loader of weights and the forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .config_values import integer, integers, number, refuse
from .expert_shape import MOE_ARCHITECTURES, ExpertShape, experts_from_hf_config, experts_from_json

__all__ = [
    "SERVED_ARCHITECTURES",
    "SERVED_ROPE_TYPES",
    "ModelShape",
    "RopeScaling",
    "check_shape",
    "shape_from_hf_config",
    "shape_from_json",
]

SERVED_ARCHITECTURES = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    *MOE_ARCHITECTURES,
)
SERVED_ROPE_TYPES = ("default", "linear", "llama3")

_WITH_QKV_BIAS = frozenset({"Qwen2ForCausalLM"})
_WITH_QK_NORM = frozenset({"Qwen3ForCausalLM", "Qwen3MoeForCausalLM"})
_WITH_WINDOW_SWITCH = frozenset({"Qwen2ForCausalLM", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM"})
_WITH_WINDOW_IN_SOME_LAYERS = frozenset({"Qwen2ForCausalLM", "Qwen3ForCausalLM"})
_HEAD_DIMS = {"Qwen3ForCausalLM": 128}
"""What transformers takes where config.json has no `head_dim`; the other classes divide the hidden size."""


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rope frequencies are stretched; names and meaning are those of transformers' `rope_parameters`.

    Attributes:
        rope_type: `linear` (every frequency divided by `factor`) or `llama3` (long waves divided, short ones
            kept, those between blended).
        original_max_position: `llama3` only: the context length of the training before stretching, in tokens.
    """

    rope_type: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position: int = 8192


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder's dimensions, in elements; everything that the forward pass needs beside the weights.

    Attributes:
        architecture: transformers' class name.
        heads: query heads; a multiple of `kv_heads`.
        ffn: width of the gated feed-forward layer, in layers without experts.
        rope_scaling: None for plain rope.
        context_length: tokens that the model was made for, within `sliding_window` where it has one: no token looks
            back further there, so that full attention is exact.
        qkv_bias: True when the q, k and v projections add a bias.
        eos_ids: tokens that end an output; may be empty.
        qk_norm: True when each head of q and k passes an RMSNorm of its own size before rope.
        sliding_window: tokens that the narrowest layer looks back over, itself included; None for full attention.
        experts: those of the layers that have them; None for a model without.
    """

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    rope_theta: float
    rope_scaling: RopeScaling | None
    rms_eps: float
    tie_embeddings: bool
    context_length: int
    qkv_bias: bool
    eos_ids: tuple[int, ...]
    bos_id: int | None
    qk_norm: bool = False
    sliding_window: int | None = None
    experts: ExpertShape | None = None

    def has_experts(self, layer: int) -> bool:
        """Returns whether this layer has experts in place of one feed-forward network."""
        return self.experts is not None and self.experts.in_layer(layer)

    @property
    def q_rows(self) -> int:
        """Rows of the query projection."""
        return self.heads * self.head_dim

    @property
    def kv_rows(self) -> int:
        """Rows of the key projection, and of the value projection."""
        return self.kv_heads * self.head_dim

    def kv_bytes_per_token(self, element_size: int) -> int:
        """Returns the bytes of one token's K and V over all layers, `element_size` bytes an element."""
        return 2 * self.layers * self.kv_rows * element_size

    def as_json(self) -> dict[str, object]:
        """Returns the shape as plain JSON values; `shape_from_json` reads it back."""
        return asdict(self)


def shape_from_json(data: Mapping[str, Any]) -> ModelShape:
    """Returns the shape that `ModelShape.as_json` wrote.

    Raises:
        KeyError, TypeError: `data` was not written by this version.
    """
    # Models that were converted before there were experts do not name any.
    values = {item.name: data[item.name] for item in fields(ModelShape) if item.name != "experts"}
    scaling = values["rope_scaling"]
    values["rope_scaling"] = None if scaling is None else RopeScaling(**scaling)
    values["eos_ids"] = tuple(values["eos_ids"])
    return ModelShape(**values, experts=experts_from_json(data.get("experts")))


def check_shape(shape: ModelShape, *, source: str) -> ModelShape:
    """Returns `shape` when its numbers fit each other.

    Raises:
        ConfigError: a dimension is not positive, odd where halves are needed, or the heads do not divide.
    """
    for name in ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab", "context_length"):
        if getattr(shape, name) < 1:
            raise refuse(source, f"its {name} is {getattr(shape, name)}", "use a complete model")
    if shape.heads % shape.kv_heads:
        problem = f"its {shape.heads} query heads are no multiple of its {shape.kv_heads} KV heads"
        raise refuse(source, problem, "use a complete model")
    if shape.head_dim % 2:
        raise refuse(source, f"its head size {shape.head_dim} is odd", "use a model with rotary halves")
    return shape


def shape_from_hf_config(
    config: Mapping[str, Any], *, source: str, generation: Mapping[str, Any] | None = None
) -> ModelShape:
    """Returns the shape that a transformers config.json describes.

    Args:
        config: the parsed config.json, as transformers 4 or 5 writes it.
        source: the model as the user named it, for errors.
        generation: the parsed generation_config.json; its `eos_token_id` and `bos_token_id` win.

    Raises:
        ConfigError: the architecture, the rope type or another setting is not served, or a number is missing.
    """
    architecture = _architecture(config, source)
    _refuse_unserved(config, architecture, source)
    hidden = integer(config, "hidden_size", source)
    heads = integer(config, "num_attention_heads", source)
    theta, scaling = _rope(config, source)
    window = _sliding_window(config, architecture, source)
    context = integer(config, "max_position_embeddings", source, default=2048)
    ids = {**config, **{k: v for k, v in (generation or {}).items() if v is not None}}
    shape = ModelShape(
        architecture=architecture,
        layers=integer(config, "num_hidden_layers", source),
        hidden=hidden,
        heads=heads,
        kv_heads=integer(config, "num_key_value_heads", source, default=heads),
        head_dim=integer(config, "head_dim", source, default=_HEAD_DIMS.get(architecture, hidden // max(heads, 1))),
        ffn=integer(config, "intermediate_size", source),
        vocab=integer(config, "vocab_size", source),
        rope_theta=theta,
        rope_scaling=scaling,
        rms_eps=number(config, "rms_norm_eps", source, default=1e-6),
        tie_embeddings=bool(config.get("tie_word_embeddings", False)),
        context_length=context if window is None else min(context, window),
        qkv_bias=architecture in _WITH_QKV_BIAS,
        eos_ids=integers(ids.get("eos_token_id"), "eos_token_id", source, "a token id"),
        bos_id=next(iter(integers(ids.get("bos_token_id"), "bos_token_id", source, "a token id")), None),
        qk_norm=architecture in _WITH_QK_NORM,
        sliding_window=window,
        experts=experts_from_hf_config(config, architecture, source),
    )
    return check_shape(shape, source=source)


def _architecture(config: Mapping[str, Any], source: str) -> str:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else f"model_type {config.get('model_type')!r}"
    if name not in SERVED_ARCHITECTURES:
        served = ", ".join(SERVED_ARCHITECTURES)
        raise refuse(source, f"the architecture {name} is not served", f"use a model of one of {served}")
    return str(name)


def _refuse_unserved(config: Mapping[str, Any], architecture: str, source: str) -> None:
    """Refuses settings that would change the result silently when ignored."""
    if config.get("quantization_config"):
        method = dict(config["quantization_config"]).get("quant_method", "unknown")
        problem = f"weights quantised with {method} are not served"
        raise refuse(source, problem, "use the unquantised model or a .gguf file")
    activation = config.get("hidden_act", "silu")
    if activation not in {"silu", "swish"}:
        raise refuse(source, f"the activation {activation} is not served", "use a model with silu")
    for key in ("mlp_bias",) if architecture in _WITH_QKV_BIAS else ("attention_bias", "mlp_bias"):
        if config.get(key):
            raise refuse(source, f"{key} is not served for {architecture}", "use a model without it")
    rope = config.get("rope_parameters")
    partial = rope.get("partial_rotary_factor") if isinstance(rope, Mapping) else None
    if float(partial or config.get("partial_rotary_factor") or 1.0) != 1.0:
        raise refuse(source, "partial rotary embeddings are not served", "use a model with full rotary size")


def _sliding_window(config: Mapping[str, Any], architecture: str, source: str) -> int | None:
    """Returns the window of the layers that have one, None when all layers look back over everything.

    The rule is transformers': Mistral and Mixtral slide in every layer; the Qwen classes with `use_sliding_window`
    alone, Qwen2 and Qwen3 in the layers that `layer_types` names, else from layer `max_window_layers` on.
    """
    kinds = config.get("layer_types")
    kinds = [str(kind) for kind in kinds] if isinstance(kinds, list) else []
    if unknown := sorted(set(kinds) - {"full_attention", "sliding_attention"}):
        raise refuse(source, f"layers of type {unknown[0]} are not served", "use a model with full attention")
    has_switch = architecture in _WITH_WINDOW_SWITCH
    if config.get("sliding_window") is None or (has_switch and not config.get("use_sliding_window")):
        return None
    in_some = architecture in _WITH_WINDOW_IN_SOME_LAYERS
    first = integer(config, "max_window_layers", source, default=28) if in_some else 0
    if "sliding_attention" not in kinds if kinds else first >= integer(config, "num_hidden_layers", source):
        return None
    window = integer(config, "sliding_window", source)
    if window < 1:
        raise refuse(source, f"its sliding_window is {window}", "use a model with a complete config.json")
    return window


def _rope(config: Mapping[str, Any], source: str) -> tuple[float, RopeScaling | None]:
    """Reads transformers 5 `rope_parameters`, else transformers 4 `rope_theta` and `rope_scaling`."""
    data = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(data, Mapping) or any(isinstance(value, Mapping) for value in data.values()):
        raise refuse(source, "its rope parameters differ per layer", "use a model with one rope for all layers")
    theta = number(data if "rope_theta" in data else config, "rope_theta", source, default=10000.0)
    kind = str(data.get("rope_type") or data.get("type") or "default")
    if kind not in SERVED_ROPE_TYPES:
        served = ", ".join(SERVED_ROPE_TYPES)
        problem = f"the rope type {kind} is not served"
        raise refuse(source, problem, f"use a model whose rope type is one of {served}")
    if kind == "default":
        return theta, None
    factor = number(data, "factor", source)
    if kind == "linear":
        return theta, RopeScaling("linear", factor)
    scaling = RopeScaling(
        rope_type=kind,
        factor=factor,
        low_freq_factor=number(data, "low_freq_factor", source),
        high_freq_factor=number(data, "high_freq_factor", source),
        original_max_position=integer(data, "original_max_position_embeddings", source),
    )
    return theta, scaling
