"""All ways to share GPUs out between prefill and decode, each as plain numbers, ready to be compared.

A way names its workers and what bounds it; words and figures come later, for the few that are shown. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, isinf, log

from .bandwidth import Links, prompt_bytes
from .facts import ModelFacts
from .roles import DecodeRole, PrefillRole, UnifiedRole
from .split import Bound, Fleet, Load

__all__ = ["TIE", "Candidate", "all_candidates", "best_unified", "rank_key", "same_rate"]

TIE = 0.01
"""Predictions closer than this share are no difference: the model is far less exact."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Workers and what they can do, in requests per second.

    Attributes:
        prefill_rate, decode_rate, transfer_rate: what each part carries within the goals.
        core_rate: what the cores carry that workers share; infinite where each has its own.
        served: what of the wanted rate it serves; all of its capacity when no rate is wanted.
        most_batch, batch: sequences of a decode worker at capacity and as served.
        ttft_s, itl_s: infinite for a queue that grows; `itl_s` is 0 without a second token.
    """

    prefill: int
    decode: int
    unified: int
    prefill_role: PrefillRole
    decode_role: DecodeRole
    prefill_rate: float
    decode_rate: float
    transfer_rate: float
    transfer_s: float
    served: float
    most_batch: int
    batch: int
    ttft_s: float
    itl_s: float
    meets: bool
    core_rate: float = inf

    @property
    def capacity(self) -> float:
        """Requests per second that it serves within the goals."""
        return min(self.prefill_rate, self.decode_rate, self.transfer_rate, self.core_rate)

    @property
    def bound(self) -> Bound:
        """What it runs out of first."""
        if self.unified:
            return Bound.WORKERS
        rates = {
            Bound.TRANSFER: self.transfer_rate,
            Bound.PREFILL: self.prefill_rate,
            Bound.DECODE: self.decode_rate,
            Bound.CORES: self.core_rate,
        }
        return min(rates, key=lambda bound: rates[bound])

    @property
    def workers(self) -> int:
        """All workers."""
        return self.prefill + self.decode + self.unified


def same_rate(one: float, other: float) -> bool:
    """True when two rates are too close to tell apart; by steps of a scale, so that it sorts."""
    return _step(one) == _step(other)


def _step(rate: float) -> float:
    return round(log(rate) / log(1 + TIE)) if 0 < rate < inf else rate


def rank_key(candidate: Candidate) -> tuple[object, ...]:
    """Returns what candidates are sorted by, the best first.

    Who serves the wanted load comes first, then who could serve more (by steps of one per cent), then the shorter
    time between tokens and to the first token, then fewer workers and those of the smaller size. Workers that share
    cores cost none, and each computes while others wait for requests and KV: of equals the one with more goes first.
    """
    return (
        not candidate.meets,
        -_step(candidate.capacity),
        round(candidate.itl_s, 6),
        round(candidate.ttft_s, 6),
        candidate.workers if isinf(candidate.core_rate) else -candidate.workers,
        candidate.prefill_role.parallel.tp,
        candidate.decode_role.parallel.tp,
        candidate.prefill,
    )


def _links_speed(links: Links | None, gpus: int) -> float:
    return inf if links is None else links.speed.value * gpus


def all_candidates(
    facts: ModelFacts,
    load: Load,
    fleet: Fleet,
    prefill_roles: Mapping[int, PrefillRole],
    decode_roles: Mapping[int, DecodeRole],
    kv_dtype: str,
) -> Iterator[Candidate]:
    """Yields each way to use the GPUs: for each number of prefill workers, as many decode workers as fit.

    Where workers share cores, more of them are not always better, so fewer are tried as well.
    """
    for prefill_tp, prefill in prefill_roles.items():
        for decode_tp, decode in decode_roles.items():
            size = prompt_bytes(facts, load.prompt, kv_dtype, decode.parallel).value
            sending = _links_speed(fleet.links, prefill_tp)
            receiving = _links_speed(fleet.links, decode_tp)
            transfer_s = size / min(sending, receiving)
            one_prefill = prefill.capacity(transfer_s)
            most = decode.most_batch
            one_decode = decode.capacity_at(most)
            cores = _core_rate(fleet, prefill, decode, most)
            for count, others in _counts(fleet, prefill_tp, decode_tp):
                transfer = min(count * sending, others * receiving) / size
                rates = (count * one_prefill, others * one_decode, transfer)
                capacity = min(*rates, cores)
                yield Candidate(
                    count,
                    others,
                    0,
                    prefill,
                    decode,
                    *rates,
                    transfer_s=transfer_s,
                    served=capacity if load.rate is None else min(load.rate, capacity),
                    most_batch=most,
                    batch=0,
                    ttft_s=0.0,
                    itl_s=0.0,
                    meets=capacity > 0 if load.rate is None else capacity >= load.rate,
                    core_rate=cores,
                )


def _counts(fleet: Fleet, prefill_tp: int, decode_tp: int) -> Iterator[tuple[int, int]]:
    for prefill in range(1, (fleet.gpus - decode_tp) // prefill_tp + 1):
        most = (fleet.gpus - prefill * prefill_tp) // decode_tp
        for decode in range(most if fleet.cores is None else 1, most + 1):
            yield prefill, decode


def _core_rate(fleet: Fleet, prefill: PrefillRole, decode: DecodeRole, batch: int) -> float:
    """Returns what shared cores carry: each request takes so many seconds of one."""
    if fleet.cores is None:
        return inf
    decoding = 1 / decode.capacity_at(batch) if decode.steps and batch else 0.0
    return fleet.cores / (prefill.service_s + decoding)


def best_unified(
    load: Load, fleet: Fleet, prefill_roles: Mapping[int, PrefillRole], decode_roles: Mapping[int, DecodeRole]
) -> Candidate | None:
    """Returns the best way to use the GPUs without disaggregation; None when no worker fits."""
    found: list[Candidate] = []
    for tp in sorted(set(prefill_roles) & set(decode_roles)):
        workers = fleet.gpus // tp
        if not workers:
            continue
        role = UnifiedRole(prefill_roles[tp], decode_roles[tp])
        most = role.most_batch
        rate = min(workers, fleet.cores or workers) * role.capacity(most)
        served = rate if load.rate is None else min(load.rate, rate)
        batch = role.batch_at(served / workers, most)
        queue = load.rate is not None or load.ttft_ms is not None
        found.append(
            Candidate(
                0,
                0,
                workers,
                role.prefill,
                role.decode,
                rate,
                rate,
                inf,
                transfer_s=0.0,
                served=served,
                most_batch=most,
                batch=batch,
                ttft_s=role.prefill.ttft_s(served / workers, role.decode.step_s(max(batch, 1)), queue=queue),
                itl_s=role.step_s(batch) if role.decode.steps else 0.0,
                meets=rate > 0 if load.rate is None else rate >= load.rate,
            )
        )
    return min(found, key=rank_key, default=None)
