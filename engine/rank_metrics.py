"""The series of a worker's ranks on /metrics, label `rank`; only where there are several.

Callers say what the ranks have done so far; counters grow by what is new. Knows nothing of how that is found out.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from .statistics import RankStatistics

__all__ = ["RankMetrics"]

_COUNTERS = {
    "compute_seconds": ("compute_s", "Seconds in passes, those of waiting for other ranks included."),
    "wait_seconds": ("wait_s", "Seconds in exchanges with other ranks."),
    "cpu_seconds": ("cpu_s", "Processor seconds."),
    "seconds": ("lived_s", "Seconds since its start, as of its last word: the other seconds are those of that moment."),
    "kv_bytes": ("kv_bytes", "KV bytes written to peers."),
    "kv_writes": ("kv_writes", "Writes that carried KV to peers."),
}


class RankMetrics:
    """The series of all ranks.

    Args:
        registry: where they live.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def name(kind: str) -> str:
            return f"pdpanel:rank_{kind}"

        self._alive = Gauge(name("alive"), "1 while the rank computes.", ("rank",), registry=registry)
        self._memory = Gauge(name("rss_bytes"), "Resident memory.", ("rank",), registry=registry)
        self._counters = {
            field: Counter(name(kind), text, ("rank",), registry=registry) for kind, (field, text) in _COUNTERS.items()
        }
        self._counted: dict[tuple[str, int], float] = {}

    def set(self, ranks: Sequence[RankStatistics]) -> None:
        """Takes what the ranks are and have done since their start."""
        for rank in ranks:
            label = str(rank.rank)
            self._alive.labels(label).set(rank.alive)
            self._memory.labels(label).set(rank.memory)
            for field, counter in self._counters.items():
                total, known = float(getattr(rank, field)), self._counted.get((field, rank.rank), 0.0)
                counter.labels(label).inc(max(0.0, total - known))
                self._counted[field, rank.rank] = max(total, known)
