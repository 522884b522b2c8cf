"""The parameters of one layer's parts, and what it keeps of a token or of a sequence.

Shapes are those of transformers' modules. Biases of projections are left out (under 0.1 % of any model). Called by
`model`; knows nothing of which layer is of which kind.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...engine.errors import ConfigError
from .config_keys import ConfigKeys
from .facts import Layers, Mixer
from .precision import dtype_bytes

__all__ = ["attention", "delta", "expert_sizes", "feed_width", "gate_count", "latent", "mamba", "window_size"]

_PLAIN_ACTIVATIONS = frozenset({"gelu", "gelu_new", "gelu_fast", "relu", "relu2"})
# fp8 keys of 128 numbers with a 32-bit scale: SGLang's and vLLM's index cache of DeepSeek sparse attention.
_INDEX_BLOCK = 128
_INDEX_SCALE_BYTES = 4


def window_size(keys: ConfigKeys) -> int:
    """Returns the window of layers that have one, in tokens."""
    return keys.number("sliding_window" if keys.has("sliding_window") else "attention_chunk_size")


def attention(keys: ConfigKeys, *, window: bool, hidden: int, other_window: bool) -> Layers:
    """Returns one layer with K and V for each KV head.

    Args:
        window: True for a layer with a sliding window.
        hidden: the model's width.
        other_window: True when the model has both kinds, so that keys of one kind alone apply.

    Raises:
        ConfigError: the heads do not divide, or a number is missing.
    """
    heads = keys.number("num_attention_heads")
    kv_heads = _kv_heads(keys, heads)
    head_dim = keys.number("head_dim", max(hidden // heads, 1))
    value_dim = keys.number("v_head_dim", head_dim)
    one_projection = False
    if window and other_window:
        heads = keys.number("swa_num_attention_heads", heads)
        kv_heads = keys.number("swa_num_key_value_heads", kv_heads)
        head_dim = keys.number("swa_head_dim", head_dim)
        value_dim = keys.number("swa_v_head_dim", value_dim)
    elif other_window:
        kv_heads = keys.number("num_global_key_value_heads", kv_heads)
        wide = keys.number("global_head_dim", head_dim)
        head_dim, value_dim = wide, value_dim if wide == head_dim else wide
        one_projection = keys.has("attention_k_eq_v")
    if heads % kv_heads:
        problem = f"{heads} query heads are no multiple of it"
        raise ConfigError("num_key_value_heads", kv_heads, problem, "give the model's own config.json")
    gate = 2 if keys.has("attn_output_gate") or keys.has("attention_output_gate") else 1
    return Layers(
        count=1,
        mixer=Mixer.SLIDING if window else Mixer.FULL,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_dim=value_dim,
        kv_elements=kv_heads * (head_dim + value_dim),
        window=window_size(keys) if window else None,
        split_parameters=hidden * heads * (gate * head_dim + value_dim),
        kv_parameters=hidden * kv_heads * (head_dim if one_projection else head_dim + value_dim),
    )


def _kv_heads(keys: ConfigKeys, heads: int) -> int:
    if keys.raw("multi_query") is True and not keys.has("new_decoder_architecture"):
        return 1
    if keys.raw("multi_query_attention") is False:
        return heads
    return keys.number("num_key_value_heads", heads)


def latent(keys: ConfigKeys, *, hidden: int) -> Layers:
    """Returns one layer of multi-head latent attention, with the index of sparse attention where there is one.

    Raises:
        ConfigError: a rank or a width is missing.
    """
    heads = keys.number("num_attention_heads")
    rank = keys.number("kv_lora_rank")
    rope = keys.number("qk_rope_head_dim", least=0)
    nope = keys.number("qk_nope_head_dim")
    value_dim = keys.number("v_head_dim")
    q_rank = keys.number("q_lora_rank", 0, least=0)
    down = hidden * (rank + rope) + rank
    query = hidden * heads * (nope + rope)
    if q_rank:
        down += hidden * q_rank + q_rank
        query = q_rank * heads * (nope + rope)
    gate = hidden * heads * value_dim if keys.has("mla_use_output_gate") else 0
    index_bytes = 0
    if keys.has("index_topk"):
        width, index_heads = keys.number("index_head_dim"), keys.number("index_n_heads")
        index_bytes = width + _INDEX_SCALE_BYTES * -(-width // _INDEX_BLOCK)
        down += (q_rank or hidden) * index_heads * width + hidden * width + hidden * index_heads + 2 * width
    return Layers(
        count=1,
        mixer=Mixer.LATENT,
        heads=heads,
        kv_heads=1,
        head_dim=nope + rope,
        value_dim=value_dim,
        kv_elements=rank + rope,
        index_bytes=index_bytes,
        attended=keys.number("index_topk") if index_bytes else None,
        split_parameters=query + rank * heads * (nope + value_dim) + heads * value_dim * hidden + gate,
        copied_parameters=down,
    )


def delta(keys: ConfigKeys, *, hidden: int) -> Layers:
    """Returns one layer of linear attention by a delta rule: a fixed state, no KV.

    Raises:
        ConfigError: a width is missing.
    """
    nested = keys.raw("linear_attn_config")
    if isinstance(nested, Mapping):
        inner = ConfigKeys(nested)
        heads, width = inner.number("num_heads"), inner.number("head_dim")
        key_heads = value_heads = heads
        key_dim = value_dim = width
        kernel = inner.number("short_conv_kernel_size", 4)
        full_rank = inner.has("use_full_rank_gate")
        gates = hidden * heads + 2 * (hidden * heads * width if full_rank else (hidden + heads * width) * width)
    else:
        value_heads, value_dim = keys.number("linear_num_value_heads"), keys.number("linear_value_head_dim")
        key_heads, key_dim = keys.number("linear_num_key_heads"), keys.number("linear_key_head_dim")
        kernel = keys.number("linear_conv_kernel_dim", 4)
        gates = hidden * (value_heads * value_dim + 2 * value_heads)
    channels = 2 * key_heads * key_dim + value_heads * value_dim
    split = hidden * channels + gates + channels * kernel + hidden * value_heads * value_dim + 2 * value_heads
    state = value_heads * key_dim * value_dim * _state_bytes(keys) + channels * (kernel - 1) * 2
    return Layers(1, Mixer.LINEAR, heads=value_heads, state_bytes=state, split_parameters=split)


def mamba(keys: ConfigKeys, *, hidden: int) -> Layers:
    """Returns one Mamba-2 layer: a fixed state, no KV.

    Raises:
        ConfigError: a width is missing.
    """
    heads, width = keys.number("mamba_num_heads"), keys.number("mamba_head_dim")
    groups, size = keys.number("n_groups"), keys.number("ssm_state_size")
    kernel = keys.number("conv_kernel", 4)
    inner = heads * width
    channels = inner + 2 * groups * size
    split = hidden * (inner + channels + heads) + channels * (kernel + 1) + inner * hidden + inner + 3 * heads
    state = inner * size * _state_bytes(keys) + channels * (kernel - 1) * 2
    return Layers(1, Mixer.LINEAR, heads=heads, state_bytes=state, split_parameters=split)


def _state_bytes(keys: ConfigKeys) -> int:
    name = keys.raw("mamba_ssm_dtype") or keys.raw("mamba_ssm_cache_dtype") or "float32"
    return dtype_bytes(str(name), "mamba_ssm_dtype")


def gate_count(keys: ConfigKeys) -> int:
    """Returns the matrices of a feed-forward part: 3 when it is gated, else 2."""
    gated = keys.raw("_gated")
    if gated is None:
        names = ("hidden_act", "mlp_hidden_act", "activation_function", "activation")
        gated = not any(str(keys.raw(name)) in _PLAIN_ACTIVATIONS for name in names)
    return 3 if gated else 2


def feed_width(keys: ConfigKeys, *, hidden: int) -> int:
    """Returns the inner width of a dense feed-forward part.

    Raises:
        ConfigError: it is missing from a model with gates; without gates it is four times the width.
    """
    if keys.has("intermediate_size_mlp"):
        return keys.number("intermediate_size_mlp")
    if keys.has("dense_intermediate_size"):
        return keys.number("dense_intermediate_size")
    return keys.number("intermediate_size", 4 * hidden if gate_count(keys) == 2 else None)


def expert_sizes(keys: ConfigKeys, *, hidden: int) -> tuple[int, int, int]:
    """Returns the parameters of one routed expert, of what each token passes beside them, and of the router.

    Raises:
        ConfigError: a width is missing.
    """
    gates = gate_count(keys)
    own = keys.number("moe_intermediate_size", keys.number("intermediate_size", 0, least=0))
    if not own:
        raise ConfigError("moe_intermediate_size", None, "is missing", "give the model's complete config.json")
    narrow = keys.number("expert_input_size", hidden)
    shared_count = keys.number("n_shared_experts", 0, least=0)
    shared = keys.number("shared_expert_intermediate_size", 0, least=0)
    if not shared and keys.has("_shared_expert_is_dense_size"):
        shared = keys.number("intermediate_size")
    shared = shared * max(shared_count, 1) if shared else shared_count * own
    beside = gates * hidden * shared + (2 * hidden * narrow if narrow != hidden else 0)
    router = hidden * keys.number("num_experts")
    return gates * narrow * own, beside, router
