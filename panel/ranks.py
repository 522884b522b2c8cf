"""Which ranks a run's workers have and what each of them computes: from the plan before the start, from workers after.

Plain JSON values for pictures. A plan says sizes, and heads and experts where the model's are known; a worker that runs
says it itself in /server_info, with the processes that live. Pure but for the questions, which block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..engine.errors import PdpanelError
from ..engine.parallel.layout import ParallelSizes, check_sizes, shards_of
from .launch import LaunchPlan, ProcessSpec
from .model_heads import ModelHeads, heads_of_model
from .rank_sizes import WORKERS, number_in, sizes_in
from .worker_client import ask_worker

__all__ = ["planned_ranks", "running_ranks"]

_NODE = re.compile(r"-rank[0-9]+$")
_MOST_RANKS = 1024
_MOST_WORDS = 300
_ASKED_AT_ONCE = 8
_ASK_S = 2.0

Worker = dict[str, Any]


def planned_ranks(plan: LaunchPlan, model: ModelHeads | None = None) -> dict[str, Worker]:
    """Returns the workers of a plan that have several ranks, by the name of their first process.

    Each has `source` ("plan"), `sizes` ({tp, attn_dp, ep, nodes}), `backend` (of experts, may be empty) and `ranks`:
    {rank, process, node, group, heads, kv_heads, experts, alive, pid, problem}; heads are [first, stop), or null where
    those of the model are not known, experts a list of numbers, problem says how a rank that is gone ended.

    Args:
        model: what is known of the model; None takes its name's word.
    """
    known = model or _named(plan.model)
    return {
        spec.name: _planned(plan, spec, known)
        for spec in plan.processes
        if spec.role in WORKERS and spec.rank == 0 and sizes_in(spec).tp > 1
    }


def _named(model: str) -> ModelHeads | None:
    try:
        return heads_of_model(model)
    except PdpanelError:
        return None


def _planned(plan: LaunchPlan, spec: ProcessSpec, model: ModelHeads | None) -> Worker:
    sizes, nodes = sizes_in(spec), number_in(spec, "--nnodes")
    each = max(1, sizes.tp // nodes)
    names = _processes(plan, spec.name)
    shards = _shards(sizes, model)
    ranks = [
        {
            "rank": rank,
            "process": names.get(min(rank // each, nodes - 1), spec.name),
            "node": rank // each,
            "group": rank // sizes.attn_tp,
            "heads": shards[rank][0] if shards else None,
            "kv_heads": shards[rank][1] if shards else None,
            "experts": shards[rank][2] if shards else [],
            "alive": None,
            "pid": None,
            "problem": "",
        }
        for rank in range(sizes.tp)
    ]
    return {"source": "plan", "sizes": _size_json(sizes, nodes), "backend": _backend(spec), "ranks": ranks}


def _size_json(sizes: ParallelSizes, nodes: int) -> dict[str, int]:
    return {"tp": sizes.tp, "attn_dp": sizes.attn_dp, "ep": sizes.ep, "nodes": nodes}


def _backend(spec: ProcessSpec) -> str:
    for place, word in enumerate(spec.argv[:-1]):
        if word == "--moe-a2a-backend":
            return spec.argv[place + 1]
    return ""


def _shards(sizes: ParallelSizes, model: ModelHeads | None) -> Sequence[tuple[list[int], list[int], list[int]]]:
    if model is None:
        return ()
    try:
        check_sizes(model.shape, sizes, model.experts)
    except PdpanelError:
        return ()
    shards = shards_of(model.shape, sizes, model.experts, model.expert_ffn)
    return [
        ([one.heads.start, one.heads.stop], [one.kv_heads.start, one.kv_heads.stop], list(one.experts))
        for one in shards
    ]


def _processes(plan: LaunchPlan, first: str) -> dict[int, str]:
    """Returns the names of a worker's processes by node."""
    return {spec.rank: spec.name for spec in plan.processes if _NODE.sub("", spec.name) == first}


def running_ranks(
    plan: LaunchPlan,
    ask: Callable[[ProcessSpec], Mapping[str, Any]] = lambda spec: ask_worker(spec, "/server_info", timeout_s=_ASK_S),
    model: ModelHeads | None = None,
) -> dict[str, Worker]:
    """Returns what `planned_ranks` does, with `source` "worker" and its own words for each worker that answers.

    Args:
        ask: returns a worker's /server_info; raises PdpanelError.
        model: see `planned_ranks`.
    """
    found = planned_ranks(plan, model)
    asked = [spec for spec in plan.processes if spec.name in found and spec.info_url]
    if not asked:
        return found

    def told(spec: ProcessSpec) -> Worker:
        try:
            return _told(found[spec.name], _processes(plan, spec.name), ask(spec))
        except (PdpanelError, KeyError, TypeError, ValueError):
            return found[spec.name]

    with ThreadPoolExecutor(min(len(asked), _ASKED_AT_ONCE), "ranks") as threads:
        return found | dict(zip((spec.name for spec in asked), threads.map(told, asked), strict=True))


def _told(planned: Worker, names: Mapping[int, str], info: Mapping[str, Any]) -> Worker:
    """Returns a worker by its own words.

    Raises:
        KeyError, TypeError, ValueError: they are none of an engine that tells its ranks.
    """
    told = [rank for rank in info["ranks"][:_MOST_RANKS] if isinstance(rank, Mapping)]
    if not told:
        raise ValueError("it tells no ranks")
    first = names.get(0, "")
    ranks = [
        {
            "rank": int(one["rank"]),
            "process": names.get(int(one.get("node", 0)), first),
            "node": int(one.get("node", 0)),
            "group": int(one.get("group", 0)),
            "heads": _pair(one["heads"]),
            "kv_heads": _pair(one["kv_heads"]),
            "experts": [int(expert) for expert in one.get("experts") or ()],
            "alive": bool(one.get("alive", True)),
            "pid": int(one["pid"]) if one.get("pid") is not None else None,
            "problem": str(one.get("problem") or "")[:_MOST_WORDS],
        }
        for one in told
    ]
    given = info["sizes"]
    sizes = {name: int(given.get(name, planned["sizes"][name])) for name in planned["sizes"]}
    return {"source": "worker", "sizes": sizes, "backend": planned["backend"], "ranks": ranks}


def _pair(value: Any) -> list[int]:
    first, stop = value
    return [int(first), int(stop)]
