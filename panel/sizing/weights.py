"""The bytes of a model's weights: all of them, and those on the fullest GPU of a worker. Pure.

Tensor parallelism splits everything but norms, routers and latent down-projections; K and V projections only until
each GPU has one KV head; expert parallelism deals whole experts.
"""

from __future__ import annotations

from math import ceil

from .facts import Layers, ModelFacts
from .figure import Figure, amount
from .parallelism import Parallelism
from .precision import Precision

__all__ = ["weight_reads", "weights_bytes"]


def weights_bytes(
    facts: ModelFacts, parallel: Parallelism | None = None, precision: Precision | None = None
) -> tuple[Figure, Figure]:
    """Returns the bytes of all weights, and of those on the fullest GPU.

    Args:
        facts: the model.
        parallel: how a worker is spread; one GPU when None.
        precision: how weights are stored; as the model's file says when None.
    """
    parallel, precision = parallel or Parallelism(), precision or facts.precision
    plain = precision.bits / 8 if precision.dense else min(facts.dtype_bytes, 2)
    inside = precision.bits / 8
    part = plain if precision.experts_only else inside
    total = facts.outer_parameters * plain
    terms = [f"{amount(facts.outer_parameters)} outer parameters x {plain:g} B"]
    for group in facts.layers:
        one = (
            (group.split_parameters + group.kv_parameters + group.dense_parameters) * part
            + group.copied_parameters * plain
            + group.experts * group.expert_parameters * inside
        )
        total += group.count * one
        terms.append(f"{group.count} layers x {amount(round(one))} B")
    assumes = (f"Weights are {precision.name}: {precision.made_of}.", *facts.assumes)
    if not precision.dense:
        kept = "All but the experts stays" if precision.experts_only else "Embeddings, head, norms and routers stay"
        assumes = (*assumes, f"{kept} at {plain:g} B each.")
    whole = Figure(round(total), "B", " + ".join(terms), assumes)
    share = parallel.stage_share(facts.layer_count)
    # Embeddings and the head lie in the first and the last stage; the fullest has one of them, or both when pp is 1.
    table = max(facts.embedding_parameters, facts.head_parameters) if parallel.pp > 1 else facts.outer_parameters
    outer = table * plain / parallel.tp
    inner = float(share) * sum(
        group.count * _layer_share(group, parallel, plain, part, inside) for group in facts.layers
    )
    formula = (
        f"{amount(table)} outer parameters x {plain:g} B / tp {parallel.tp} + {share.numerator}/{share.denominator} "
        f"of the layers, {amount(round(inner))} B after tp {parallel.tp}, ep {parallel.ep} and "
        f"{parallel.attention_dp} copies of the attention"
    )
    split = "Norms, routers and latent down-projections are copied to each GPU of a stage; the rest is split."
    return whole, Figure(round(outer + inner), "B", formula, (*assumes, split))


def _layer_share(group: Layers, parallel: Parallelism, plain: float, part: float, inside: float) -> float:
    """Returns the bytes of one layer on one GPU."""
    tp = parallel.attention_tp
    kv = group.kv_parameters / min(tp, max(group.kv_heads, 1))
    attention = (group.split_parameters / tp + kv) * part + group.copied_parameters * plain
    dense = group.dense_parameters / parallel.tp * part
    dealt = ceil((group.experts + parallel.redundant_experts) / parallel.ep) if group.experts else 0
    return attention + dense + dealt * group.expert_parameters / (parallel.tp // parallel.ep) * inside


def weight_reads(facts: ModelFacts, parallel: Parallelism, precision: Precision | None = None) -> tuple[float, float]:
    """Returns the bytes of weights that a GPU reads in a decode step: for any batch, and when all experts are met.

    Of the input table only single rows are read, so it counts only where it is the output head too. For one stage.
    """
    precision = precision or facts.precision
    plain = precision.bits / 8 if precision.dense else min(facts.dtype_bytes, 2)
    inside = precision.bits / 8
    part = plain if precision.experts_only else inside
    always = facts.head_matmul_parameters * plain / parallel.tp
    routed = 0.0
    for group in facts.layers:
        experts = _layer_share(group, parallel, 0, 0, inside)
        routed += group.count * experts
        always += group.count * (_layer_share(group, parallel, plain, part, inside) - experts)
    return always, routed
