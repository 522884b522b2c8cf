"""Which split of N GPUs into prefill and decode workers suits a load, and whether to split at all.

A planning aid with shown arithmetic: each number comes from a roofline or from a measurement, and says so. Pure; the
command line calls it, and so does the Plan tab.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from heapq import nsmallest
from math import isinf

from ...engine.errors import ConfigError
from .candidates import Candidate, all_candidates, best_unified, rank_key
from .facts import Mixer, ModelFacts
from .figures_of import split_of
from .gpus import Gpu
from .measured import Measured, MeasuredSpeed
from .memory import Budget, requests_that_fit
from .parallelism import Parallelism
from .precision import Precision
from .roles import MOST_BATCH, DecodeRole, PrefillRole
from .speed import Efficiency, Roofline, Speed
from .split import Fleet, Load, Suggestion
from .verdict import balance_of, comparison_of, ranked
from .weights import weights_bytes

__all__ = ["suggest"]

_LOOKED_AT = 200


def suggest(
    facts: ModelFacts,
    load: Load,
    fleet: Fleet,
    gpu: Gpu | None = None,
    *,
    kv_dtype: str = "bf16",
    precision: Precision | None = None,
    fraction: float = 0.9,
    efficiency: Efficiency | None = None,
    measured: Measured | None = None,
    keep: int = 10,
) -> Suggestion:
    """Returns the best splits for a load, ranked, and the baseline without disaggregation.

    Args:
        facts: the model.
        load: what is to be served.
        fleet: what there is.
        gpu: the device; may be None when speeds are measured and memory is no matter.
        kv_dtype: of the KV cache.
        precision: of the weights; as the model's file says when None.
        fraction: share of a GPU's memory that the engine may take.
        efficiency: shares of the peaks that are reached.
        measured: what one worker was seen to do; replaces the roofline, and the fleet's smallest size is its own.
        keep: splits to return.

    Raises:
        ConfigError: the model does not fit, neither a device nor a measurement is given, or a number makes no sense.
    """
    if gpu is None and measured is None:
        raise ConfigError("--gpu", None, "is missing", "name the GPU, or give measured speeds")
    if keep < 1:
        raise ConfigError("keep", keep, "is less than 1", "ask for one split or more")
    efficiency = efficiency or Efficiency()
    budget = None if gpu is None else Budget(gpu.memory_bytes, fraction, kv_dtype=kv_dtype, precision=precision)
    sizes = sorted(set(fleet.tp_sizes))[: 1 if measured else None]
    prefills: dict[int, PrefillRole] = {}
    decodes: dict[int, DecodeRole] = {}

    def speed(parallel: Parallelism) -> Speed:
        if measured is not None or gpu is None:
            assert measured is not None
            return MeasuredSpeed(measured)
        network = fleet.links.speed.value if fleet.links else 0.0
        return Roofline(facts, gpu, parallel, efficiency, kv_dtype, precision, network)

    for tp in sizes:
        if tp > fleet.gpus or facts.heads % tp:
            continue
        prefill, decode = Parallelism(tp), _decode_parallelism(facts, tp)
        fits = _fits(facts, budget, load.prompt + load.output, decode)
        if _fits(facts, budget, load.prompt + 1, prefill):
            prefills[tp] = PrefillRole(prefill, speed(prefill), load)
        if fits:
            decodes[tp] = DecodeRole(decode, speed(decode), load, fits)
    if not prefills or not decodes:
        raise _does_not_fit(facts, load, fleet, sizes, budget)

    unified = best_unified(load, fleet, prefills, decodes)
    if unified is None:
        raise _does_not_fit(facts, load, fleet, sizes, budget)
    ways = all_candidates(facts, load, fleet, prefills, decodes, kv_dtype)
    rough = nsmallest(_LOOKED_AT, ways, key=rank_key)
    best = sorted((_delays(way, load) for way in rough), key=rank_key)[:keep]
    shown = [split_of(facts, load, fleet, way, budget) for way in best]
    splits = ranked(tuple(shown), tuple(best))
    baseline = split_of(facts, load, fleet, unified, budget)
    return Suggestion(
        model=facts.name,
        load=load,
        fleet=fleet,
        splits=splits,
        unified=baseline,
        balance=balance_of(best[0], load) if best else _too_few(prefills, decodes),
        comparison=comparison_of(splits[0] if splits else None, baseline),
    )


def _decode_parallelism(facts: ModelFacts, tp: int) -> Parallelism:
    """Latent KV is not split by tensor parallelism, so decode copies the attention instead (DP attention)."""
    latent = any(group.mixer is Mixer.LATENT for group in facts.layers)
    return Parallelism(tp, attention_dp=tp if latent else 1)


def _fits(facts: ModelFacts, budget: Budget | None, length: int, parallel: Parallelism) -> int:
    if budget is None:
        return MOST_BATCH
    return int(requests_that_fit(facts, budget, length, parallel).value)


def _delays(way: Candidate, load: Load) -> Candidate:
    """Returns the candidate with the batch and the delays that what it serves leads to."""
    batch = way.decode_role.batch_at(way.served / way.decode, way.most_batch)
    queue = load.rate is not None or load.ttft_ms is not None
    ttft = way.prefill_role.ttft_s(way.served / way.prefill, way.transfer_s, queue=queue)
    itl = way.decode_role.step_s(batch) if way.decode_role.steps else 0.0
    return replace(way, batch=batch, ttft_s=ttft, itl_s=itl, meets=way.meets and not isinf(ttft))


def _too_few(prefills: Iterable[int], decodes: Iterable[int]) -> str:
    least = min(prefills) + min(decodes)
    return f"Disaggregation takes {least} GPUs or more: {min(prefills)} for prefill and {min(decodes)} for decode."


def _does_not_fit(
    facts: ModelFacts, load: Load, fleet: Fleet, sizes: Sequence[int], budget: Budget | None
) -> ConfigError:
    if all(facts.heads % size for size in sizes):
        problem = f"none of the sizes divides its {facts.heads} attention heads"
        return ConfigError("--tp", tuple(sizes), problem, "use a size that does")
    weights = weights_bytes(facts, precision=budget.precision if budget else None)[0].value
    tried = ", ".join(str(size) for size in sizes if size <= fleet.gpus) or "so many"
    length = load.prompt + load.output
    problem = (
        f"no worker of {tried} GPUs holds {weights / 1e9:.4g} GB of weights and a request of {length} tokens"
        if budget is not None
        else f"no worker of {tried} GPUs can be made"
    )
    return ConfigError("--gpus", fleet.gpus, problem, "use more or larger GPUs, a larger --tp or a smaller format")
