"""The bytes of KV that a token and a sequence keep, in all and on each GPU. Pure.

Attention keeps 2 x kv_heads x head_dim numbers of a token in each layer, split by tensor parallelism until a GPU has
one KV head and copied beyond that; latent attention keeps kv_lora_rank + qk_rope_head_dim, the same on each GPU; a
sliding window stops growing at its length; linear layers keep a state of fixed size.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, inf

from .facts import Layers, Mixer, ModelFacts
from .figure import Figure
from .parallelism import Parallelism
from .precision import dtype_bytes

__all__ = ["kv_bytes_per_token", "sequence_kv_bytes"]


def kv_bytes_per_token(
    facts: ModelFacts, kv_dtype: str = "bf16", parallel: Parallelism | None = None
) -> tuple[Figure, Figure]:
    """Returns the KV bytes of one token in all, and on each GPU that holds it.

    Layers with a sliding window count as long as the sequence is shorter than their window.

    Raises:
        ConfigError: the dtype is unknown.
    """
    parallel, size = parallel or Parallelism(), dtype_bytes(kv_dtype, "--kv-cache-dtype")
    keeping = [group for group in facts.layers if group.kv_elements]
    whole = sum(group.count * (group.kv_elements * size + group.index_bytes) for group in keeping)
    formula = " + ".join(_kv_term(group, size) for group in keeping)
    assumes: list[str] = []
    if any(group.window for group in keeping):
        assumes.append("Until a sequence is longer than the window; from then on those layers grow no more.")
    if any(group.mixer is Mixer.LINEAR for group in facts.layers):
        assumes.append("Linear layers keep a state of fixed size for a sequence and nothing for a token.")
    share = parallel.stage_share(facts.layer_count)
    each = share * sum(_kv_on_gpu(group, size, parallel.attention_tp) for group in keeping)
    tp = parallel.attention_tp
    per_gpu = " + ".join(
        f"{_kv_term(group, size)} / {min(tp, group.kv_heads)}"
        if group.mixer is not Mixer.LATENT
        else _kv_term(group, size)
        for group in keeping
    )
    notes = list(assumes)
    if any(group.mixer is Mixer.LATENT for group in keeping) and tp > 1:
        notes.append("Tensor parallelism does not split latent KV: each GPU has all of it.")
    if any(0 < group.kv_heads < tp and group.mixer is not Mixer.LATENT for group in keeping):
        notes.append("There are fewer KV heads than GPUs, so several GPUs hold the same head.")
    if parallel.pp > 1:
        per_gpu = f"({per_gpu}) x {share.numerator}/{share.denominator} of the layers"
    return Figure(whole, "B", formula, tuple(assumes)), Figure(float(each), "B", per_gpu, tuple(notes))


def _kv_term(group: Layers, size: int) -> str:
    if group.mixer is Mixer.LATENT:
        index = f" + {group.index_bytes} B of index keys" if group.index_bytes else ""
        return f"{group.count} layers x ({group.kv_elements} latent numbers x {size} B{index})"
    if group.head_dim == group.value_dim:
        return f"2 x {group.count} layers x {group.kv_heads} KV heads x {group.head_dim} x {size} B"
    return f"{group.count} layers x {group.kv_heads} KV heads x ({group.head_dim} + {group.value_dim}) x {size} B"


def _kv_on_gpu(group: Layers, size: int, tp: int) -> Fraction:
    """Returns the bytes of one token in all layers of the group, on one of `tp` GPUs."""
    if group.mixer is Mixer.LATENT:
        return Fraction(group.count * (group.kv_elements * size + group.index_bytes))
    return Fraction(group.count * group.kv_elements * size * ceil(group.kv_heads / tp), group.kv_heads)


def sequence_kv_bytes(
    facts: ModelFacts,
    tokens: float,
    kv_dtype: str = "bf16",
    parallel: Parallelism | None = None,
    *,
    read: bool = False,
) -> tuple[float, float]:
    """Returns the bytes that a sequence of `tokens` keeps in all, and on each GPU that holds it.

    Args:
        facts: the model.
        tokens: length of the sequence.
        kv_dtype: of the KV cache.
        parallel: how a worker is spread.
        read: count what a decode step reads, which is less than what is kept for sparse attention.
    """
    parallel, size = parallel or Parallelism(), dtype_bytes(kv_dtype, "--kv-cache-dtype")
    whole = each = 0.0
    for group in facts.layers:
        kept = min(tokens, group.window or inf)
        main = min(kept, group.attended or inf) if read else kept
        index = group.count * group.index_bytes * kept
        whole += group.count * (group.kv_elements * size * main + group.state_bytes) + index
        if group.kv_elements:
            numbers = float(_kv_on_gpu(group, size, parallel.attention_tp)) - group.count * group.index_bytes
            each += numbers * main + index
        each += group.count * group.state_bytes / parallel.attention_tp
    return whole, each * float(parallel.stage_share(facts.layer_count))
