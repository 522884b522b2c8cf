"""The catalogue: which series a run can have, what they are called, where they come from and what bounds them.

Pure: a plan and the links of the host in, `SeriesInfo` out. `runner.rows` fills them, `runner.samples` keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..launch import LaunchPlan, ProcessSpec, Role
from ..rank_sizes import sizes_in
from ..telemetry.series_info import SeriesInfo

__all__ = ["LinkLimit", "SeriesInfo", "engine_source", "gpu_memory_series", "known_series", "metrics_url", "pairs"]

_HOST = "host /proc"
_LOG = "Mooncake's log"
_WORKERS = frozenset({Role.PREFILL, Role.DECODE, Role.UNIFIED})
_ROUTERS = frozenset({Role.ROUTER, Role.PROXY})

# part of the key: title, unit, group, limit.
_Row = tuple[str, str, str, str, float | None]
_OF_ALL: tuple[_Row, ...] = (
    ("running", "Running requests", "requests", "queues", None),
    ("queued", "Queued requests", "requests", "queues", None),
)
_OF_PREFILL: tuple[_Row, ...] = (
    ("bootstrap_queue", "Requests that wait for decode", "requests", "queues", None),
    ("inflight_queue", "Requests whose KV travels", "requests", "queues", None),
    ("transfer_latency_p50_s", "Transfer latency, median", "s", "transfer", None),
    ("transfer_latency_p99_s", "Transfer latency, 99th percentile", "s", "transfer", None),
)
_OF_DECODE: tuple[_Row, ...] = (
    ("prealloc_queue", "Requests that wait for pages", "requests", "queues", None),
    ("transfer_queue", "Requests whose KV travels", "requests", "queues", None),
)
_OF_WORKER: tuple[_Row, ...] = (
    ("prompt_tokens_per_s", "Prompt tokens", "tokens/s", "tokens", None),
    ("generated_tokens_per_s", "Generated tokens", "tokens/s", "tokens", None),
    ("kv_usage_percent", "KV pool in use", "%", "pages", 100.0),
)
_OF_BUNDLED: tuple[_Row, ...] = (
    ("slot_pages_used", "Slot pages in use", "pages", "pages", None),
    ("staging_pages_used", "Staging pages in use", "pages", "pages", None),
    ("pages_quarantined", "Pages in quarantine", "pages", "pages", None),
)
_OF_RANK: tuple[_Row, ...] = (
    ("compute_percent", "Time in passes", "%", "ranks", 100.0),
    ("wait_percent", "Time in exchanges with other ranks", "%", "ranks", 100.0),
    ("rss_bytes", "Memory", "B", "ranks", None),
    ("kv_bytes_per_s", "KV sent", "B/s", "ranks", None),
)
_OF_GROUP: tuple[_Row, ...] = (
    ("running", "Running requests", "requests", "attention", None),
    ("queued", "Queued requests", "requests", "attention", None),
    ("kv_usage_percent", "KV pool in use", "%", "attention", 100.0),
)
_OF_BUNDLED_ROUTER: tuple[_Row, ...] = (
    ("loop_lag_s", "Event loop delay, mean", "s", "latency", None),
    ("loop_late_percent", "Late event loop", "%", "cpu", 100.0),
)
_OF_STORE: tuple[_Row, ...] = (
    ("store_bytes", "Store in use", "B", "store", None),
    ("store_keys", "Objects in the store", "objects", "store", None),
)
_OF_LOG: tuple[_Row, ...] = (
    ("mooncake_bytes_per_s", "Transfer Engine throughput", "B/s", "mooncake", None),
    ("mooncake_latency_p50_s", "Transfer Engine latency, median", "s", "mooncake", None),
    ("mooncake_latency_p99_s", "Transfer Engine latency, 99th percentile", "s", "mooncake", None),
)
_OF_RUN: tuple[_Row, ...] = (
    ("transfer_latency_p50_s", "Transfer latency, median", "s", "transfer", None),
    ("transfer_latency_p99_s", "Transfer latency, 99th percentile", "s", "transfer", None),
    ("transfer_bytes_per_request", "KV per request", "B", "transfer_size", None),
    ("running", "Running requests, all workers", "requests", "queues", None),
    ("prompt_tokens_per_s", "Prompt tokens, all workers", "tokens/s", "tokens", None),
    ("generated_tokens_per_s", "Generated tokens, all workers", "tokens/s", "tokens", None),
    ("requests_per_s", "Requests that ended", "requests/s", "requests", None),
    ("failed_per_s", "Requests that failed", "requests/s", "requests", None),
    ("ttft_p50_s", "Time to first token, median", "s", "latency", None),
    ("ttft_p99_s", "Time to first token, 99th percentile", "s", "latency", None),
    ("itl_p50_s", "Inter-token latency, median", "s", "latency", None),
    ("itl_p99_s", "Inter-token latency, 99th percentile", "s", "latency", None),
    ("e2e_p50_s", "Whole request, median", "s", "latency", None),
    ("e2e_p99_s", "Whole request, 99th percentile", "s", "latency", None),
)
_TOTALS = frozenset({"running", "prompt_tokens_per_s", "generated_tokens_per_s"})


@dataclass(frozen=True, slots=True)
class LinkLimit:
    """A link of the host that is sampled.

    Attributes:
        key: what begins the keys of its two series, such as `nic/mlx5_0:1` or `netdev/eth0`.
        limit: line rate in bytes per second; None where the device tells none.
    """

    key: str
    limit: float | None


def metrics_url(spec: ProcessSpec, plan: LaunchPlan) -> str:
    """Returns where a process' metrics are; empty when it has none."""
    if not spec.metrics_url and spec.role is Role.ROUTER and plan.dialect == "bundled" and plan.router_url:
        return f"{plan.router_url.rstrip('/')}/metrics"
    return spec.metrics_url


def engine_source(plan: LaunchPlan) -> str:
    """Returns the source of what the engine itself says, for people."""
    for start, name in (("bundled", "pdpanel"), ("sglang", "SGLang"), ("vllm", "vLLM")):
        if plan.dialect.startswith(start):
            return f"{name}'s /metrics"
    return "engine's /metrics"


def pairs(plan: LaunchPlan) -> list[tuple[str, str]]:
    """Returns the names of prefill and decode between which KV may travel."""
    senders = [spec.name for spec in plan.processes if spec.role is Role.PREFILL and not spec.rank]
    receivers = [spec.name for spec in plan.processes if spec.role is Role.DECODE and not spec.rank]
    return [(sender, receiver) for sender in senders for receiver in receivers]


def known_series(
    plan: LaunchPlan,
    links: Sequence[LinkLimit] = (),
    memory_bytes: float | None = None,
    gpu_bytes: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, SeriesInfo]:
    """Returns every series that a run of `plan` can have, by key.

    Args:
        plan: of the run.
        links: NICs and interfaces of this host that are sampled.
        memory_bytes: of this host; None where it is not known.
        gpu_bytes: of its GPUs, as the plan names them, as far as they are known.
    """
    found = [*_of_run(plan, links), *_of_processes(plan), *_of_host(plan, links, memory_bytes, gpu_bytes)]
    return {info.key: info for info in found}


def _of_run(plan: LaunchPlan, links: Sequence[LinkLimit]) -> Iterator[SeriesInfo]:
    source = engine_source(plan)
    nics = {name for spec in plan.processes for name in spec.nics}
    rates = [link.limit for link in links if link.key.removeprefix("nic/").rpartition(":")[0] in nics]
    known = [rate for rate in rates if rate is not None]
    limit = sum(known) if known and len(known) == len(rates) else None
    yield SeriesInfo("run/kv_bytes_per_s", "KV transfer, all links", "B/s", source, "", "kv", True, limit)
    for one, other in pairs(plan):
        yield SeriesInfo(f"link/{one}>{other}/kv_bytes_per_s", f"KV {one} to {other}", "B/s", source, "", "kv")
    for part, title, unit, group, bound in _OF_RUN:
        yield SeriesInfo(f"run/{part}", title, unit, source, "", group, part in _TOTALS, bound)


def _of_processes(plan: LaunchPlan) -> Iterator[SeriesInfo]:
    source = engine_source(plan)
    for spec in plan.processes:
        name, rows = spec.name, list[_Row]()
        if metrics_url(spec, plan):
            rows += _OF_STORE if spec.role in {Role.METADATA, Role.STORE} else _OF_ALL
            rows += _OF_BUNDLED_ROUTER if spec.role is Role.ROUTER and plan.dialect == "bundled" else ()
            if spec.role in _WORKERS:
                rows += _OF_WORKER
                rows += _OF_PREFILL if spec.role is Role.PREFILL else ()
                rows += _OF_DECODE if spec.role is Role.DECODE else ()
                rows += _OF_BUNDLED if plan.dialect == "bundled" else ()
                yield from _of_ranks(spec, source) if plan.dialect == "bundled" else ()
        said = f"{spec.role.value}'s /metrics" if spec.role in _ROUTERS else source
        yield from _named(f"proc/{name}", name, rows, said)
        if spec.role is Role.PREFILL and metrics_url(spec, plan):
            yield SeriesInfo(f"proc/{name}/kv_bytes_per_s", f"KV sent by {name}", "B/s", source, name, "kv")
        if spec.role in _WORKERS | {Role.STORE}:
            yield from _named(f"proc/{name}", name, _OF_LOG, _LOG)
        yield SeriesInfo(f"proc/{name}/cpu_percent", f"CPU of {name}", "%", _HOST, name, "cpu")
        yield SeriesInfo(f"proc/{name}/rss_bytes", f"Memory of {name}", "B", _HOST, name, "memory")


def _of_ranks(spec: ProcessSpec, source: str) -> Iterator[SeriesInfo]:
    """Yields the series of each rank and of each attention group of a worker that has several."""
    sizes, name = sizes_in(spec), spec.name
    for rank in range(sizes.tp if sizes.tp > 1 else 0):
        rows = [row for row in _OF_RANK if spec.role is Role.PREFILL or not row[0].startswith("kv_")]
        yield from _named(f"rank/{name}/{rank}", f"rank {rank} of {name}", rows, source, name)
    for group in range(sizes.attn_dp if sizes.attn_dp > 1 else 0):
        yield from _named(f"group/{name}/{group}", f"attention group {group} of {name}", _OF_GROUP, source, name)


def gpu_memory_series(gpu: str, size_bytes: float | None) -> SeriesInfo:
    """Returns the series of a GPU's memory; its size is None where it is not known yet."""
    title = f"Memory of GPU {gpu}"
    return SeriesInfo(f"gpu/{gpu}/memory_bytes", title, "B", "GPU library", "", "gpu", False, size_bytes)


def _of_host(
    plan: LaunchPlan, links: Iterable[LinkLimit], memory: float | None, gpu_bytes: Mapping[str, float]
) -> Iterator[SeriesInfo]:
    for link in links:
        kind, _, name = link.key.partition("/")
        source = "RDMA port counters" if kind == "nic" else "counters of the interface"
        for way, title in (("tx", "sent"), ("rx", "received")):
            key = f"{link.key}/{way}_bytes_per_s"
            yield SeriesInfo(key, f"{name} {title}", "B/s", source, "", kind, False, link.limit)
    for gpu in dict.fromkeys(gpu for spec in plan.processes for gpu in spec.gpus):
        yield SeriesInfo(f"gpu/{gpu}/util_percent", f"GPU {gpu} busy", "%", "GPU library", "", "gpu", False, 100.0)
        yield gpu_memory_series(gpu, gpu_bytes.get(gpu))
    yield SeriesInfo("host/cpu_percent", "CPU of the host", "%", _HOST, "", "cpu", False, 100.0)
    yield SeriesInfo("host/memory_bytes", "Memory of the host in use", "B", _HOST, "", "memory", False, memory)


def _named(place: str, name: str, rows: Iterable[_Row], source: str, process: str = "") -> Iterator[SeriesInfo]:
    for part, title, unit, group, bound in rows:
        yield SeriesInfo(f"{place}/{part}", f"{title} of {name}", unit, source, process or name, group, False, bound)
