"""What the numbers of a split mean, in sentences. Pure; candidates in, words out."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isinf

from .candidates import TIE, Candidate, same_rate
from .figure import amount
from .split import Bound, Load, Split

__all__ = ["balance_of", "comparison_of", "ranked", "verdict_of"]


def verdict_of(way: Candidate, load: Load) -> str:
    """Returns what bounds the candidate, and what would help."""
    if not way.capacity:
        return _impossible(way, load)
    head = "" if load.rate is None else _against_wish(way, load)
    if way.unified:
        return head + "Each worker does both: prompts interrupt decoding."
    rates = {
        Bound.PREFILL: (way.prefill_rate, "prefill workers", "more prefill workers, or fewer decode workers"),
        Bound.DECODE: (way.decode_rate, "decode workers", "more decode workers, or fewer prefill workers"),
        Bound.TRANSFER: (way.transfer_rate, "links", "more or faster NICs, or KV in fp8"),
        Bound.CORES: (way.core_rate, "shared cores", "more cores"),
    }
    rate, name, remedy = rates[way.bound]
    others = {bound: value for bound, value in rates.items() if bound is not way.bound}
    next_bound, (next_rate, next_name, _) = min(others.items(), key=lambda item: item[1][0])
    if rate and next_rate / rate < 1 + 5 * TIE and not {Bound.TRANSFER, Bound.CORES} & {way.bound, next_bound}:
        return f"{head}Balanced: prefill and decode run out together, at {amount(rate)} requests/s."
    spare = "the rest is without limit" if isinf(next_rate) else f"the {next_name} could take {amount(next_rate)}"
    word = way.bound.capitalize()
    return f"{head}{word}: the {name} take {amount(rate)} requests/s, {spare}. To serve more: {remedy}."


def _impossible(way: Candidate, load: Load) -> str:
    least = way.decode_role.step_s(1) * 1e3
    if load.itl_ms is not None and way.decode_role.steps and least > load.itl_ms:
        return f"Cannot keep {load.itl_ms:g} ms between tokens: one sequence alone takes {least:.4g} ms."
    service = way.prefill_role.service_s * 1e3
    if load.ttft_ms is not None and not way.prefill_rate:
        rest = f" and {way.transfer_s * 1e3:.4g} ms of transfer" if way.transfer_s else ""
        return f"Cannot keep {load.ttft_ms:g} ms to the first token: a prompt takes {service:.4g} ms{rest}."
    return "Cannot keep the goals: prompts in between make the time between tokens too long."


def _against_wish(way: Candidate, load: Load) -> str:
    assert load.rate is not None
    if way.capacity >= load.rate:
        return f"Serves the {amount(load.rate)} requests/s, {load.rate / way.capacity:.0%} of what it can. "
    return f"Serves {amount(way.capacity)} of the {amount(load.rate)} requests/s wanted. "


def ranked(splits: tuple[Split, ...], ways: tuple[Candidate, ...]) -> tuple[Split, ...]:
    """Returns the splits, each with the reason for its place."""
    behind = zip(ways, ways[1:], splits, strict=False)
    reasons = ["the best of all"][: len(splits)] + [_why(before, way, ahead) for before, way, ahead in behind]
    return tuple(replace(split, ranked=reason) for split, reason in zip(splits, reasons, strict=True))


def _why(before: Candidate, way: Candidate, ahead: Split) -> str:
    name = f"{ahead.name} (tp {ahead.prefill_tp} / {ahead.decode_tp})"
    if before.meets and not way.meets:
        return f"behind {name}, which serves the wanted load"
    if not same_rate(before.capacity, way.capacity):
        return f"behind {name}, which can serve {amount(before.capacity)} against {amount(way.capacity)} requests/s"
    tie = f"a tie with {name} in requests/s (within {TIE:.0%})"
    if round(before.itl_s, 6) != round(way.itl_s, 6):
        return f"{tie}, which has {before.itl_s * 1e3:.4g} against {way.itl_s * 1e3:.4g} ms between tokens"
    if round(before.ttft_s, 6) != round(way.ttft_s, 6):
        return f"{tie} and between tokens, which has the shorter time to the first token"
    return f"{tie} and in both delays, which has fewer or smaller workers"


def balance_of(best: Candidate, load: Load) -> str:
    """Returns how a request's work divides, and the ratio of workers that follows."""
    prefill = best.prefill / best.prefill_rate if best.prefill_rate else inf
    decode = best.decode / best.decode_rate if best.decode_rate else inf
    if isinf(prefill) or isinf(decode):
        return "No ratio follows: one of the roles cannot keep its goal."
    if not decode:
        return "A request has one output token, so all work is prefill."
    text = (
        f"Within the goals, one request of {amount(load.prompt)} + {amount(load.output)} tokens takes "
        f"{prefill * 1e3:.4g} ms of a prefill worker (tp {best.prefill_role.parallel.tp}) and {decode * 1e3:.4g} ms of "
        f"a decode worker's batch (tp {best.decode_role.parallel.tp})"
    )
    ratio = prefill / decode
    matched = f"{ratio:.3g} prefill to 1 decode" if ratio >= 1 else f"1 prefill to {1 / ratio:.3g} decode"
    if abs(ratio - 1) < TIE:
        rule = "1P1D is in balance, and 2P1D and 1P2D do the same"
    elif ratio > 1:
        rule = "2P1D is better than 1P2D"
    else:
        rule = "1P2D is better than 2P1D"
    return f"{text}: the matched ratio is {matched}, and of such workers {rule}."


def comparison_of(best: Split | None, unified: Split) -> str:
    """Returns the best split against the same GPUs without disaggregation."""
    workers = f"{unified.name} workers (tp {unified.decode_tp})" if unified.unified > 1 else "one unified worker"
    if best is None:
        return f"Use {workers}: {amount(unified.capacity.value)} requests/s."
    if not best.capacity.value and not unified.capacity.value:
        return "Neither a split nor unified workers keep the goals."
    if not unified.capacity.value:
        return f"{workers[:1].upper()}{workers[1:]} cannot keep the goals; {best.name} can."
    times = best.capacity.value / unified.capacity.value
    text = f"{best.name} can serve {times:.3g} times what {workers} can within the goals"
    delays = []
    if best.itl and unified.itl:
        delays.append(f"{best.itl.value:.4g} against {unified.itl.value:.4g} ms between tokens")
    if best.ttft and unified.ttft:
        delays.append(f"{best.ttft.value:.4g} against {unified.ttft.value:.4g} ms to the first token")
    end = f", with {' and '.join(delays)}" if delays else ""
    hint = "" if times >= 1 + TIE else " Disaggregation brings no throughput here; it keeps prompts from decoding."
    return f"{text}{end}.{hint}"
