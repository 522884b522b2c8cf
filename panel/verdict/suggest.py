"""What to try about a limit: sentences with numbers, each of which the host has room for. Pure; `judge` calls it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .evidence import Evidence
from .shape import Room, Worker
from .stages import Stages
from .values import Action, Limit, Suggestion

__all__ = ["suggestions_of"]

# A worker of the bundled engine computes on one core, and needs most of it.
_CORES = 0.5
# A prompt that is cut into more steps than this pays for each of them; below so many tokens a step is all overhead.
_SMALL_CHUNK = 256
_LARGE_CHUNK = 2048
# From this share of the line rate on, the NICs are what the transfer waits for.
_LINE_RATE = 0.7
_IDLE = 0.3


def suggestions_of(limit: Limit, stages: Stages, window: Evidence) -> tuple[Suggestion, ...]:
    """Returns what to try, the most useful first; nothing for a run that nothing limits."""
    match limit:
        case Limit.PREFILL:
            return tuple(_prefill(stages, window))
        case Limit.DECODE:
            return tuple(_decode(stages, window))
        case Limit.UNIFIED:
            return tuple(_unified(stages, window))
        case Limit.TRANSFER:
            return tuple(_transfer(stages, window))
        case Limit.ROUTER:
            return tuple(_router(stages, window))
        case _:
            return ()


def _has_room(workers: Sequence[Worker], room: Room) -> bool:
    gpus = max((worker.gpus for worker in workers), default=0)
    if gpus:
        return room.gpus is not None and room.gpus >= gpus
    return room.cores is not None and room.cores >= _CORES


def _one_more(limit: Limit, workers: Sequence[Worker], stages: Stages, window: Evidence) -> Suggestion:
    """Returns the suggestion of one more worker of a role: here where there is room, else elsewhere."""
    count = len(workers)
    split = {
        Limit.PREFILL: f"{count + 1}P{len(window.shape.decode)}D",
        Limit.DECODE: f"{len(window.shape.prefill)}P{count + 1}D",
        Limit.UNIFIED: f"{count + 1} unified workers",
    }[limit]
    others = max((part.busy for one, part in stages.parts.items() if one is not limit), default=0.0)
    most = min((count + 1) / count, 1 / others if others else 2.0)
    gain = f"up to {most:.1f} times the throughput" if most > 1.05 else "shorter queues"
    if window.shape.attached or not _has_room(workers, window.room):
        gpus = max((worker.gpus for worker in workers), default=0)
        need = f"{gpus} free GPUs" if gpus > 1 else "a free GPU" if gpus else "a free core"
        where = "wherever there is" if window.shape.attached else "this host has none left, so on another one with"
        return Suggestion(f"Use {split} ({where} {need}): {gain}.")
    return Suggestion(f"Use {split}: {gain}.", Action.PLAN, {f"{limit}.count": count + 1})


def _idle(limit: Limit, workers: Sequence[Worker], stages: Stages) -> bool:
    part = stages.parts.get(limit)
    return part is not None and len(workers) > 1 and part.working < _IDLE


def _prefill(stages: Stages, window: Evidence) -> Iterator[Suggestion]:
    if _idle(Limit.DECODE, window.shape.decode, stages):
        split = f"{len(window.shape.prefill) + 1}P{len(window.shape.decode) - 1}D"
        share = stages.parts[Limit.DECODE].working
        changes = {"prefill.count": len(window.shape.prefill) + 1, "decode.count": len(window.shape.decode) - 1}
        action = Action.NONE if window.shape.attached else Action.PLAN
        yield Suggestion(
            f"Move a worker from decode, which computes {share:.0%} of the time: {split}.", action, changes
        )
    yield _one_more(Limit.PREFILL, window.shape.prefill, stages, window)
    chunks = [worker.chunk for worker in window.shape.prefill if worker.chunk]
    if chunks and min(chunks) < _SMALL_CHUNK:
        text = f"Compute longer pieces of a prompt at once: --chunked-prefill-size {_SMALL_CHUNK}, not {min(chunks)}."
        action = Action.NONE if window.shape.attached else Action.PLAN
        yield Suggestion(text, action, {"prefill.chunked_prefill_size": _SMALL_CHUNK})


def _decode(stages: Stages, window: Evidence) -> Iterator[Suggestion]:
    part = stages.parts[Limit.DECODE]
    action = Action.NONE if window.shape.attached else Action.PLAN
    if part.waiting >= 1:
        bound = min((worker.most_running for worker in window.shape.decode if worker.most_running), default=None)
        running = max((window.mean(f"proc/{w.name}/running") or 0.0 for w in window.shape.decode), default=0.0)
        if bound is not None and running >= 0.9 * bound:
            text = f"Let decode compute more requests at once: --max-running-requests {2 * bound} instead of {bound}."
            yield Suggestion(text, action, {"decode.max_running_requests": 2 * bound})
        else:
            usage = max(
                (window.mean(f"proc/{w.name}/kv_usage_percent") or 0.0 for w in window.shape.decode), default=0.0
            )
            text = f"Give decode more KV pages ({usage:.0f} % are in use): a larger --max-total-tokens or"
            yield Suggestion(f"{text} --mem-fraction-static, or fewer reserved tokens (--num-reserved-decode-tokens).")
    if _idle(Limit.PREFILL, window.shape.prefill, stages):
        split = f"{len(window.shape.prefill) - 1}P{len(window.shape.decode) + 1}D"
        share = stages.parts[Limit.PREFILL].working
        changes = {"prefill.count": len(window.shape.prefill) - 1, "decode.count": len(window.shape.decode) + 1}
        yield Suggestion(
            f"Move a worker from prefill, which computes {share:.0%} of the time: {split}.", action, changes
        )
    yield _one_more(Limit.DECODE, window.shape.decode, stages, window)


def _unified(stages: Stages, window: Evidence) -> Iterator[Suggestion]:
    yield _one_more(Limit.UNIFIED, window.shape.unified, stages, window)
    chunks = [worker.chunk for worker in window.shape.unified if worker.chunk]
    if chunks and max(chunks) > _LARGE_CHUNK:
        text = f"--chunked-prefill-size {_LARGE_CHUNK} instead of {max(chunks)}"
        yield Suggestion(f"Cut prompts into smaller pieces, so that answers wait less: {text}.")
    yield Suggestion("Compare with prefill and decode apart, where a long prompt holds up no answer.")


def _transfer(stages: Stages, window: Evidence) -> Iterator[Suggestion]:
    busiest = _line_rate(window)
    if busiest is not None:
        key, share = busiest
        if share >= _LINE_RATE:
            yield Suggestion(f"Use more NICs, or faster ones: {key} carries {share:.0%} of its line rate.")
        else:
            text = f"The NICs are at {share:.0%} of their line rate at most, so it is not they: prove the transport"
            yield Suggestion(
                f"{text}, since {window.shape.transport or 'it'} may have fallen back to TCP.", Action.PROOF
            )
    else:
        yield Suggestion("Prove the transport: it may be another one than was asked for.", Action.PROOF)
    if "tcp" in window.shape.transport:
        yield Suggestion("Use RDMA (transport mooncake) where the hosts have it, or shm on one host.")
    chunks = [worker.chunk for worker in window.shape.prefill if worker.chunk]
    size = window.mean("run/transfer_bytes_per_request")
    if chunks and min(chunks) > _SMALL_CHUNK:
        each = f" ({size / 1e6:.1f} MB a request)" if size else ""
        text = (
            f"Send KV in smaller chunks while the prompt is computed: --chunked-prefill-size {_SMALL_CHUNK} instead of"
        )
        action = Action.NONE if window.shape.attached else Action.PLAN
        yield Suggestion(f"{text} {min(chunks)}{each}.", action, {"prefill.chunked_prefill_size": _SMALL_CHUNK})


def _line_rate(window: Evidence) -> tuple[str, float] | None:
    """Returns the RDMA port that is fullest, with the share of its line rate; None where no rate is known."""
    shares: dict[str, float] = {}
    for key, limit in window.limits.items():
        rate = window.mean(key) if key.startswith("nic/") and limit > 0 else None
        if rate is not None:
            shares[key.split("/")[1]] = max(rate / limit, shares.get(key.split("/")[1], 0.0))
    return max(shares.items(), key=lambda item: item[1]) if shares else None


def _router(stages: Stages, window: Evidence) -> Iterator[Suggestion]:
    part = stages.parts[Limit.ROUTER]
    yield Suggestion(
        f"Add a router for the same workers and share the clients out: this one holds {part.requests:.1f} requests "
        "that no worker has."
    )
    yield Suggestion(
        "Look whether the router has a core of its own, and whether its log shows retries or slow clients."
    )
