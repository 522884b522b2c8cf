"""What a worker says of itself at one moment; read by /server_info, /get_load, /metrics and the panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .model.executor import ExecutorInfo

__all__ = [
    "EncoderState",
    "EngineStatistics",
    "OpenStatistics",
    "PoolStatistics",
    "RankStatistics",
    "TransferStatistics",
]


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
class RankStatistics:
    """One rank of a worker; a worker that is not spread has one.

    Attributes:
        host: name of its machine.
        group: its attention group.
        heads, kv_heads: first one, and the one behind the last.
        experts: those of each layer that it has.
        compute_s: seconds in passes, those of waiting included.
        wait_s: seconds in exchanges with other ranks.
        cpu_s: processor seconds.
        lived_s: seconds since its start, as of its last word; what the other seconds are shares of.
        memory: resident bytes.
        kv_bytes, kv_writes: what it wrote to peers.
        bounce: heads of pages in its bounce memory that somebody may still write or read.
        problem: how it ended, in one sentence; empty while it is alive.
    """

    rank: int
    pid: int
    node: int
    host: str
    group: int
    heads: tuple[int, int]
    kv_heads: tuple[int, int]
    experts: tuple[int, ...]
    alive: bool = True
    compute_s: float = 0.0
    wait_s: float = 0.0
    cpu_s: float = 0.0
    lived_s: float = 0.0
    memory: int = 0
    kv_bytes: int = 0
    kv_writes: int = 0
    bounce: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class OpenStatistics:
    """What has begun and not ended; all 0 on a worker that has nothing to do.

    Attributes:
        requests: with a listener.
        rooms: that the core knows of, those given up whose pages somebody may still write among them.
        sends: rooms of which something was sent, and orders that not all ranks have answered.
    """

    requests: int = 0
    rooms: int = 0
    sends: int = 0


@dataclass(frozen=True, slots=True)
class EncoderState:
    """An encoder that a language worker asks.

    Attributes:
        images: that it is asked for now.
        problem: why it is not alive; empty while it is.
    """

    url: str
    alive: bool
    images: int = 0
    problem: str = ""


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
        open: what has begun and not ended.
        startup: seconds per phase of the start.
        executor: the path that it computes on.
        encoders: those that a language worker asks for embeddings of images.
        groups: of a worker with several attention groups, each one's queues, pools and speed; the fields above are
            their sums.
        ranks: by number.
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
    open: OpenStatistics = OpenStatistics()
    startup: Mapping[str, float] = field(default_factory=dict)
    transfer: TransferStatistics | None = None
    executor: ExecutorInfo | None = None
    groups: tuple[EngineStatistics, ...] = ()
    encoders: tuple[EncoderState, ...] = ()
    ranks: tuple[RankStatistics, ...] = ()
