"""A candidate in full: its figures with their arithmetic, its verdict, what it assumes. Pure; `suggest` calls it."""

from __future__ import annotations

from math import isinf

from .bandwidth import prompt_bytes
from .candidates import Candidate
from .facts import ModelFacts
from .figure import Figure, amount
from .memory import Budget, memory_of
from .roles import UnifiedRole
from .split import Fleet, Load, Split
from .verdict import verdict_of

__all__ = ["split_of"]


def split_of(facts: ModelFacts, load: Load, fleet: Fleet, way: Candidate, budget: Budget | None) -> Split:
    """Returns the split that a candidate stands for."""
    figures = _work(load, way) | _transfer(facts, load, fleet, way, budget) | _memory(facts, load, way, budget)
    assumes = ["Requests are alike, come at random and are spread evenly over the workers."]
    if load.rate is None and load.ttft_ms is None:
        assumes.append("The client keeps all workers busy; time spent waiting for a free worker is not counted.")
    if way.prefill and fleet.links is None:
        assumes.append("The transfer is not counted: no link is given.")
    if fleet.cores is not None:
        assumes.append(f"The workers share {amount(fleet.cores)} of the CPU's cores; each uses one at most.")
    assumes.append("No prefix cache hits, no speculative decoding, no pipeline or wide expert parallelism.")
    return Split(
        prefill=way.prefill,
        decode=way.decode,
        unified=way.unified,
        prefill_tp=way.prefill_role.parallel.tp,
        decode_tp=way.decode_role.parallel.tp,
        batch=way.batch,
        capacity=_capacity(way),
        rate=_rate(load, way),
        ttft=_ttft(load, way),
        itl=_itl(way),
        bound=way.bound,
        meets=way.meets,
        verdict=verdict_of(way, load),
        figures=figures,
        assumes=tuple(assumes),
    )


def _capacity(way: Candidate) -> Figure:
    if way.unified:
        each = amount(way.capacity / way.unified)
        return Figure(way.capacity, "requests/s", f"{way.unified} workers x {each} requests/s")
    formula = (
        f"min({way.prefill} prefill x {amount(way.prefill_rate / way.prefill)}, "
        f"{way.decode} decode x {amount(way.decode_rate / way.decode)}, "
        f"transfer {amount(way.transfer_rate)}"
    )
    if not isinf(way.core_rate):
        formula += f", shared cores {amount(way.core_rate)}"
    formula += ") requests/s"
    return Figure(way.capacity, "requests/s", formula)


def _rate(load: Load, way: Candidate) -> Figure:
    if load.rate is None:
        return Figure(way.served, "requests/s", f"all of the {amount(way.capacity)} requests/s that it can serve")
    return Figure(way.served, "requests/s", f"min({amount(load.rate)} wanted, {amount(way.capacity)} possible)")


def _ttft(load: Load, way: Candidate) -> Figure | None:
    if isinf(way.ttft_s):
        return None
    service = way.prefill_role.service_s
    beside = way.decode_role.step_s(max(way.batch, 1)) if way.unified else way.transfer_s
    wait = max(way.ttft_s - service - beside, 0.0)
    busy = way.served / (way.prefill or way.unified) * service
    what = "the step that runs" if way.unified else "transfer"
    formula = f"{service * 1e3:.4g} prefill + {beside * 1e3:.4g} {what} + {wait * 1e3:.4g} waiting"
    if wait:
        formula += f" (a worker is {busy:.0%} busy with prompts)"
    assumes = () if way.unified else ("The transfer does not hide behind the prefill.",)
    return Figure(way.ttft_s * 1e3, "ms", formula, assumes)


def _itl(way: Candidate) -> Figure | None:
    if not way.decode_role.steps:
        return None
    step = way.decode_role.speed.step(way.batch, way.decode_role.context)
    if not way.unified:
        return step
    role = UnifiedRole(way.prefill_role, way.decode_role)
    between = role.step_s(way.batch) * 1e3 - step.value
    formula = (
        f"{step.value:.4g} ms step + {between:.4g} ms for prompts in between: {way.batch} sequences / "
        f"{way.decode_role.steps} steps x {way.prefill_role.service_s * 1e3:.4g} ms"
    )
    return Figure(way.itl_s * 1e3, "ms", formula, step.assumes)


def _work(load: Load, way: Candidate) -> dict[str, Figure]:
    prefill, decode = way.prefill_role, way.decode_role
    found = {"prefill of one prompt": prefill.speed.prefill(load.prompt)}
    if not decode.steps:
        return found
    if way.most_batch:
        found["decode step at the largest batch"] = decode.speed.step(way.most_batch, decode.context)
        tokens = way.most_batch / decode.step_s(way.most_batch)
        formula = f"{way.most_batch} sequences / {decode.step_s(way.most_batch) * 1e3:.4g} ms"
        found["output of one decode worker"] = Figure(tokens, "tokens/s", formula)
    limit = f"memory holds {amount(decode.fits)} sequences"
    if decode.load.itl_ms is not None:
        limit += f", and a step keeps {decode.load.itl_ms:g} ms"
    if decode.speed.largest_batch is not None:
        limit += f", {decode.speed.largest_batch} is the largest batch measured"
    found["largest batch"] = Figure(way.most_batch, "requests", limit, ("An engine takes 1024 sequences at most.",))
    return found


def _transfer(facts: ModelFacts, load: Load, fleet: Fleet, way: Candidate, budget: Budget | None) -> dict[str, Figure]:
    if way.unified:
        return {}
    size = prompt_bytes(facts, load.prompt, budget.kv_dtype if budget else "bf16", way.decode_role.parallel)
    found = {"KV of one prompt": size}
    if fleet.links is not None:
        slower = min(way.prefill_role.parallel.tp, way.decode_role.parallel.tp)
        links = fleet.links.speed
        formula = f"{amount(size.value)} B / ({slower} GPUs x {amount(links.value)} B/s of {links.formula})"
        found["transfer of one prompt"] = Figure(way.transfer_s * 1e3, "ms", formula, links.assumes)
        found["KV to send"] = Figure(
            size.value * way.served, "B/s", f"{amount(size.value)} B x {amount(way.served)} requests/s"
        )
    return found


def _memory(facts: ModelFacts, load: Load, way: Candidate, budget: Budget | None) -> dict[str, Figure]:
    if budget is None:
        return {}
    decode = memory_of(facts, budget, load.prompt + load.output, way.decode_role.parallel)
    prefill = memory_of(facts, budget, load.prompt + 1, way.prefill_role.parallel)
    found = {
        "weights": decode.weights,
        "KV of one token": decode.kv_per_token,
        "weights on a decode GPU": decode.weights_per_gpu,
        "sequences in a decode worker's memory": decode.requests,
    }
    if way.prefill and prefill.weights_per_gpu != decode.weights_per_gpu:
        found["weights on a prefill GPU"] = prefill.weights_per_gpu
    return found
