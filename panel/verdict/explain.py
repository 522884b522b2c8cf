"""The words of a verdict: its one sentence, and the numbers behind it. Pure; `judge` calls it."""

from __future__ import annotations

from collections.abc import Mapping

from .evidence import Evidence
from .shape import Shape
from .stages import Part, Stages
from .values import Limit, Seen

__all__ = ["evidence_of", "sentence_of"]

_NAMES = {
    Limit.PREFILL: "Prefill",
    Limit.DECODE: "Decode",
    Limit.UNIFIED: "The unified worker",
    Limit.TRANSFER: "The KV transfer",
    Limit.ROUTER: "The router",
}
_WHERE = {
    Limit.PREFILL: ("queued", "Requests at prefill, those that wait for it included"),
    Limit.DECODE: ("running", "Requests at decode, those that wait for a place included"),
    Limit.UNIFIED: ("running", "Requests at the workers, those that wait included"),
    Limit.TRANSFER: ("inflight_queue", "Requests whose KV travels"),
    Limit.ROUTER: ("running", "Requests that only the router holds"),
}
# Nobody notices a share below this one.
_WORTH_WORDS = 0.05


def sentence_of(limit: Limit, stages: Stages, window: Evidence, gains: Mapping[Limit, float], why: str) -> str:
    """Returns the one sentence.

    Args:
        why: why nothing limits the run; empty when something does.
    """
    if limit is Limit.NOTHING:
        return f"Nothing limits it: {why}{_busiest(stages) if 'load is below' in why else ''}."
    part = stages.parts[limit]
    whole = stages.requests
    share = min(1.0, part.requests / whole) if whole else 0.0
    second = _second(limit, gains)
    return f"{_name(limit, window.shape)} limits it: {_how(part, stages)}, and {_people(share, whole)}{second}."


def _name(limit: Limit, shape: Shape) -> str:
    if limit is Limit.UNIFIED:
        count = len(shape.unified)
        name = "The unified worker" if count == 1 else f"The {count} unified workers together"
        return f"{name}, where prompts and answers share each step,"
    return _NAMES[limit]


def _busiest(stages: Stages) -> str:
    part = max(stages.parts.values(), key=lambda one: one.busy, default=None)
    if part is None or part.busy < _WORTH_WORDS:
        return ""
    return f" ({_NAMES[part.limit].lower()}, the busiest part, is at {part.busy:.0%})"


def _how(part: Part, stages: Stages) -> str:
    match part.limit:
        case Limit.PREFILL:
            return f"it computes {part.busy:.0%} of the time"
        case Limit.DECODE if part.waiting >= 1:
            return f"{part.waiting:.1f} requests wait because its places or pages are taken"
        case Limit.UNIFIED if part.waiting >= 1:
            return f"{part.waiting:.1f} requests wait for a place"
        case Limit.DECODE | Limit.UNIFIED:
            return f"it computes {part.working:.0%} of the time"
        case Limit.TRANSFER if stages.throttled >= _WORTH_WORDS:
            return f"prefill has no pages left for {stages.throttled:.0%} of the time because their KV has not left yet"
        case Limit.TRANSFER:
            return f"KV is under way after its prompt was computed for {part.busy:.0%} of the time"
        case _:
            return f"it is busy {part.busy:.0%} of the time"


def _people(share: float, whole: float) -> str:
    if whole < 1.5:
        return f"a request spends {share:.0%} of its time there"
    return f"{share:.0%} of the {whole:.1f} requests in the run are there"


def _second(limit: Limit, gains: Mapping[Limit, float]) -> str:
    others = {one: gain for one, gain in gains.items() if one is not limit}
    if not others:
        return ""
    second = max(others, key=lambda one: others[one])
    close = others[second] > 1 and (gains[limit] - others[second]) < 0.25 * (gains[limit] - 1)
    return f"; {_NAMES[second].lower()} follows closely" if close else ""


def evidence_of(stages: Stages, window: Evidence) -> tuple[Seen, ...]:
    """Returns the numbers behind the verdict, those of the parts first."""
    shape = window.shape
    found: list[Seen] = []
    whole = stages.requests
    for limit, part in stages.parts.items():
        names = _names(limit, shape)
        series, meaning = _WHERE[limit]
        key = f"proc/{names}/{series}"
        found.append(Seen(key, round(part.requests, 2), meaning, "requests", round(whole, 2) if whole else None))
        found.append(Seen(key, round(part.busy, 3), _busy_words(limit), "share", 1.0))
    if Limit.DECODE in stages.parts:
        places = sum(worker.most_running or 0 for worker in shape.decode)
        running = sum(window.mean(f"proc/{worker.name}/running") or 0.0 for worker in shape.decode)
        words = "Requests that decode computes at once"
        found.append(
            Seen("proc/decode/running", round(running, 2), words, "requests", float(places) if places else None)
        )
    found += _measured(window)
    found += _cpu(window)
    return tuple(found)


def _names(limit: Limit, shape: Shape) -> str:
    return ",".join(shape.routers) if limit is Limit.ROUTER else "prefill" if limit is Limit.TRANSFER else str(limit)


def _busy_words(limit: Limit) -> str:
    return {
        Limit.PREFILL: "Time in which prefill has a prompt to compute",
        Limit.DECODE: "Decode's places that are taken",
        Limit.UNIFIED: "Places of the workers that are taken",
        Limit.TRANSFER: "Time in which KV is under way after its prompt was computed",
        Limit.ROUTER: "Time in which the router is busy",
    }[limit]


def _measured(window: Evidence) -> list[Seen]:
    found: list[Seen] = []
    ttft = window.mean("run/ttft_p50_s")
    transfer = window.mean("run/transfer_latency_p50_s")
    if ttft is not None:
        found.append(Seen("run/ttft_p50_s", round(ttft, 4), "Time to the first token, median", "s"))
    if transfer is not None:
        found.append(
            Seen(
                "run/transfer_latency_p50_s", round(transfer, 4), "Time that a request's KV travels, median", "s", ttft
            )
        )
    for key, meaning, unit in (
        ("run/itl_p50_s", "Time between two tokens, median", "s"),
        ("run/requests_per_s", "Requests that end", "requests/s"),
        ("run/kv_bytes_per_s", "KV that is sent", "B/s"),
    ):
        value = window.mean(key)
        if value is not None:
            found.append(Seen(key, round(value, 4), meaning, unit))
    return found


def _cpu(window: Evidence) -> list[Seen]:
    found: list[Seen] = []
    for name in (*(worker.name for worker in window.shape.workers), *window.shape.routers):
        value = window.mean(f"proc/{name}/cpu_percent")
        if value is not None:
            found.append(Seen(f"proc/{name}/cpu_percent", round(value / 100, 3), f"CPU of {name}, in cores", "cores"))
    for name in window.shape.routers:
        value = window.mean(f"proc/{name}/loop_lag_s")
        if value is not None:
            meaning = f"Time that work waits for the event loop of {name}, mean"
            found.append(Seen(f"proc/{name}/loop_lag_s", round(value, 4), meaning, "s"))
    gpus = sorted({key for _, values in window.rows for key in values if key.endswith("/util_percent")})
    for key in gpus:
        value = window.mean(key)
        if value is not None:
            found.append(Seen(key, round(value / 100, 3), f"GPU {key.split('/')[1]} busy", "share", 1.0))
    return found
