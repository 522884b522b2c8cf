"""A worker's Prometheus metrics: SGLang's names and pdpanel's own about KV transfers.

Callers say what happened (`tokens`, `first_token`, `transfer`, ...), from any thread; `render` gives the text
of /metrics. Lives in the registry it is given, so that two workers in one process do not meet. Knows nothing
of HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .rank_metrics import RankMetrics
from .statistics import EngineStatistics, PoolStatistics

__all__ = ["CONTENT_TYPE", "EngineMetrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LABELS = ("model_name", "engine_type", "tp_rank")
_GIB = 1 << 30
_MIB = 1 << 20

_SPEED_GB_S = (0.1, 0.5, 1, 5, 10, 25, 50, 100, 200, 400)
_LATENCY_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)
_TOTAL_MB = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
_FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 100)
_KV_WAIT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_INTER_TOKEN_S = (
    0.001,
    0.002,
    0.004,
    0.006,
    0.008,
    0.01,
    0.015,
    0.02,
    0.03,
    0.04,
    0.06,
    0.08,
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
)
_END_TO_END_S = (0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 100, 200, 400, 600)

_GAUGES = {
    "num_running_reqs": "Requests that compute.",
    "num_queue_reqs": "Requests that wait.",
    "num_used_tokens": "Token places of the KV pool in use.",
    "token_usage": "Share of the KV pool in use, 0 to 1.",
    "gen_throughput": "Generated tokens per second over the last seconds.",
    "cache_hit_rate": "Share of the last prompts' tokens that were cached, 0 to 1.",
    "max_total_num_tokens": "Token places of the KV pool.",
    "num_prefill_bootstrap_queue_reqs": "Prefill requests that wait for decode's grant.",
    "num_prefill_inflight_queue_reqs": "Prefill requests whose KV travels.",
    "num_decode_prealloc_queue_reqs": "Decode requests that wait for pages.",
    "num_decode_transfer_queue_reqs": "Decode requests whose KV travels.",
}


class _Gauges:
    """The gauges of one attention group.

    Args:
        rank: value of the label `dp_rank`, where there is one.
    """

    def __init__(self, gauges: Mapping[str, Gauge], pages: Gauge, rank: tuple[str, ...]) -> None:
        self._gauges = gauges
        self._pages = pages
        self._rank = rank

    def set(self, now: EngineStatistics) -> None:
        for name, value in {
            "num_running_reqs": now.running,
            "num_queue_reqs": now.queued,
            "num_used_tokens": now.used_tokens,
            "token_usage": now.used_tokens / now.max_total_tokens if now.max_total_tokens else 0.0,
            "gen_throughput": now.gen_throughput,
            "cache_hit_rate": now.cache_hit_rate,
            "max_total_num_tokens": now.max_total_tokens,
            "num_prefill_bootstrap_queue_reqs": now.bootstrap_queue,
            "num_prefill_inflight_queue_reqs": now.inflight_queue,
            "num_decode_prealloc_queue_reqs": now.prealloc_queue,
            "num_decode_transfer_queue_reqs": now.transfer_queue,
        }.items():
            self._gauges[name].set(value)
        self._set_pool("slot", now.slot)
        if now.staging is not None:
            self._set_pool("staging", now.staging)

    def _set_pool(self, pool: str, pages: PoolStatistics) -> None:
        self._pages.labels(pool, "free", *self._rank).set(pages.free)
        self._pages.labels(pool, "held", *self._rank).set(pages.held)
        self._pages.labels(pool, "quarantined", *self._rank).set(pages.quarantined)
        self._pages.labels(pool, "cached", *self._rank).set(pages.cached)


class EngineMetrics:
    """The metrics of one worker.

    Args:
        registry: where they live; a fresh one per worker.
        model_name: label `model_name`, the served name.
        role: label `engine_type`: prefill, decode or unified.
        groups: attention groups; of several, gauges have the label `dp_rank` and a series for each, none for the sum.
    """

    def __init__(self, registry: CollectorRegistry, model_name: str, role: str, groups: int = 1) -> None:
        self._registry = registry
        values = (model_name, role, "0")

        def counter(name: str, text: str) -> Counter:
            return Counter(f"sglang:{name}", text, _LABELS, registry=registry).labels(*values)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"sglang:{name}", text, _LABELS, registry=registry, buckets=buckets).labels(*values)

        ranks = [(str(group),) for group in range(groups)] if groups > 1 else [()]
        by_group = ("dp_rank",) if groups > 1 else ()
        gauges = {
            name: Gauge(f"sglang:{name}", text, (*_LABELS, *by_group), registry=registry)
            for name, text in _GAUGES.items()
        }
        pages = Gauge("pdpanel_pages", "KV pages by state.", ("pool", "state", *by_group), registry=registry)
        self._groups = [
            _Gauges({name: gauge.labels(*values, *rank) for name, gauge in gauges.items()}, pages, rank)
            for rank in ranks
        ]
        self._prompt_tokens = counter("prompt_tokens", "Prompt tokens taken in, computed or cached.")
        # SGLang tells apart where the KV lay; there is one place here.
        name, text = "sglang:cached_tokens", "Prompt tokens whose KV was cached, and not computed again."
        cached = Counter(name, text, (*_LABELS, "cache_source"), registry=registry)
        self._cached_tokens = cached.labels(*values, "device")
        self._generation_tokens = counter("generation_tokens", "Tokens generated.")
        self._requests = counter("num_requests", "Requests accepted.")
        self._aborted = counter("num_aborted_requests", "Requests that were given up.")
        self._failed_transfers = counter("num_transfer_failed_reqs", "Requests whose KV transfer failed.")
        self._speed = histogram("kv_transfer_speed_gb_s", "KV transfer speed in GiB/s.", _SPEED_GB_S)
        self._latency = histogram("kv_transfer_latency_ms", "KV transfer time in ms.", _LATENCY_MS)
        self._total = histogram("kv_transfer_total_mb", "KV per transfer in MiB.", _TOTAL_MB)
        self._first_token = histogram("time_to_first_token_seconds", "Time to the first token.", _FIRST_TOKEN_S)
        self._inter_token = histogram("inter_token_latency_seconds", "Time between two tokens.", _INTER_TOKEN_S)
        self._end_to_end = histogram("e2e_request_latency_seconds", "Time of a whole request.", _END_TO_END_S)

        def ours(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"pdpanel_{name}", text, labels, registry=registry)

        self._kv_bytes = ours("kv_bytes", "KV bytes moved between workers.", "direction", "peer")
        self._kv_pages = ours("kv_pages", "KV pages moved between workers.", "direction", "peer")
        self._kv_transfers = ours("kv_transfers", "KV transfers that ended.", "direction", "peer", "outcome")
        self._kv_writes = ours("kv_writes", "Writes that carried KV.", "direction", "peer")
        text = "From the end of a prompt's computation until decode can go on: what its KV adds to the second token."
        self._kv_wait = Histogram("pdpanel_kv_wait_seconds", text, registry=registry, buckets=_KV_WAIT_S)
        self._stale = ours("stale_messages", "Messages of the other half that came too late, and were ignored.")
        self._integrity = ours("integrity_errors", "Pages found lost or owned by nobody that lives.")
        self._late_writes = ours("late_writes", "Pages found written after they had become free (check mode).")
        self._fences = ours("fences_lifted", "Quarantined rooms whose pages are free again.", "why")
        for why in ("drained", "replaced", "dead", "lease"):
            self._fences.labels(why)
        self._counted = {"stale": 0, "integrity": 0}
        self._ranks: RankMetrics | None = None

    def tokens(self, prompt: int = 0, generated: int = 0, cached: int = 0) -> None:
        """Counts prompt tokens taken in, those of them that were cached, and tokens generated here."""
        if prompt:
            self._prompt_tokens.inc(prompt)
        if cached:
            self._cached_tokens.inc(cached)
        if generated:
            self._generation_tokens.inc(generated)

    def request_started(self) -> None:
        """Counts an accepted request."""
        self._requests.inc()

    def request_finished(self, seconds: float) -> None:
        """Takes a request that ended by itself, `seconds` after it was accepted."""
        self._end_to_end.observe(seconds)

    def request_aborted(self) -> None:
        """Counts a request that was given up."""
        self._aborted.inc()

    def first_token(self, seconds: float) -> None:
        """Takes a request's time to its first token."""
        self._first_token.observe(seconds)

    def inter_token(self, seconds: float) -> None:
        """Takes the time between two tokens of a request."""
        self._inter_token.observe(seconds)

    def kv_moved(
        self, *, direction: Literal["sent", "received"], peer: str, size: int, pages: int, writes: int
    ) -> None:
        """Takes KV that arrived whole; prefill reports each write as it ends, so that rates are live.

        Args:
            direction: as seen from this worker.
            peer: HTTP address host:port of the other worker.
            size: in bytes.
            pages: KV pages, counted as often as they moved.
            writes: writes that carried them.
        """
        self._kv_bytes.labels(direction, peer).inc(size)
        self._kv_pages.labels(direction, peer).inc(pages)
        self._kv_writes.labels(direction, peer).inc(writes)

    def transfer_ended(
        self, *, direction: Literal["sent", "received"], peer: str, size: int, seconds: float, ok: bool
    ) -> None:
        """Takes the end of one request's KV transfer.

        Args:
            direction: as seen from this worker.
            peer: HTTP address host:port of the other worker.
            size: bytes of the whole request.
            seconds: spent in the request's writes, without the computing between them; 0 where it is not known.
            ok: whether it arrived whole.
        """
        self._kv_transfers.labels(direction, peer, "ok" if ok else "failed").inc()
        if not ok:
            self._failed_transfers.inc()
        elif direction == "sent":  # SGLang observes these on prefill
            self._latency.observe(seconds * 1000)
            self._total.observe(size / _MIB)
            if seconds > 0:
                self._speed.observe(size / _GIB / seconds)

    def kv_waited(self, seconds: float) -> None:
        """Takes the time from a prompt's last computed chunk until decode had its KV, as prefill sees it."""
        self._kv_wait.observe(seconds)

    def integrity_error(self) -> None:
        """Counts a request whose pages arrived damaged (check mode)."""
        self._integrity.inc()

    def late_writes(self, pages: int) -> None:
        """Counts free pages that somebody wrote into (check mode)."""
        self._late_writes.inc(pages)

    def fence_lifted(self, why: str) -> None:
        """Counts a room whose quarantined pages returned; see `actions.FenceLifted`."""
        self._fences.labels(why).inc()

    def set_statistics(self, now: EngineStatistics) -> None:
        """Sets the gauges."""
        for gauges, group in zip(self._groups, now.groups or (now,), strict=True):
            gauges.set(group)
        if len(now.ranks) > 1:
            self._ranks = self._ranks or RankMetrics(self._registry)
            self._ranks.set(now.ranks)
        for counter, name, value in (
            (self._stale, "stale", now.stale_messages),
            (self._integrity, "integrity", now.integrity_errors),
        ):
            counter.inc(value - self._counted[name])
            self._counted[name] = value

    def render(self) -> bytes:
        """Returns the Prometheus text of everything."""
        return generate_latest(self._registry)
