"""What a worker says of itself at one moment; read by /server_info, /get_load, /metrics and the panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .model.executor import ExecutorInfo

__all__ = ["EngineStatistics", "PoolStatistics", "TransferStatistics"]


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Pages of a pool by state; free + held + quarantined + cached = total.

    Attributes:
        held: by requests, those shared with the prefix cache among them.
        cached: by the prefix cache alone; a request that needs them gets them.
    """

    total: int
    free: int
    held: int
    quarantined: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class TransferStatistics:
    """Which transport carries the KV.

    Attributes:
        notice: why it is not the requested one; empty when it is.
    """

    requested: str
    backend: str
    notice: str = ""


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """Queues, pools and speed of one worker.

    Attributes:
        running: requests that compute.
        queued: requests that wait for anything.
        bootstrap_queue: prefill: waiting for decode's grant.
        inflight_queue: prefill: prompt computed, KV travelling.
        prealloc_queue: decode: waiting for pages.
        transfer_queue: decode: pages granted, KV travelling.
        used_tokens: places of the slot pool in use.
        gen_throughput: tokens per second, over the last seconds.
        cache_hit_rate: share of the last prompts' tokens that were in the prefix cache, 0 to 1.
        staging: None on unified workers.
        stale_messages: of the other half, since the start: too late to matter, and ignored.
        integrity_errors: problems found in the page pools since the start; a bug of ours when it is not 0.
        startup: seconds per phase of the start.
        executor: the path that it computes on.
    """

    running: int = 0
    queued: int = 0
    bootstrap_queue: int = 0
    inflight_queue: int = 0
    prealloc_queue: int = 0
    transfer_queue: int = 0
    used_tokens: int = 0
    max_total_tokens: int = 0
    gen_throughput: float = 0.0
    cache_hit_rate: float = 0.0
    slot: PoolStatistics = PoolStatistics(0, 0, 0, 0)
    staging: PoolStatistics | None = None
    stale_messages: int = 0
    integrity_errors: int = 0
    startup: Mapping[str, float] = field(default_factory=dict)
    transfer: TransferStatistics | None = None
    executor: ExecutorInfo | None = None
