"""What the router counts, as Prometheus text on /metrics.

Workers' activity and health are read from the table when somebody asks; everything else is counted by the relay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .admission import Admission
from .distribution import Distribution, Distributions
from .loop_lag import LoopLag
from .workers import WorkerTable

__all__ = ["METRICS_CONTENT_TYPE", "RouterMetrics"]

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SERVED_BUCKETS = (
    0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 400.0
)  # fmt: skip
_ADDED_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)


class _Workers(Collector):
    def __init__(self, table: WorkerTable, admission: Admission, clock: Callable[[], float]) -> None:
        self._table = table
        self._admission = admission
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        gauges = {
            name: GaugeMetricFamily(f"pdpanel_router_worker_{name}", text, labels=("worker", "role"))
            for name, text in (
                ("active", "Requests on this worker now."),
                ("healthy", "1 when the worker is healthy."),
                ("requests", "Requests sent to this worker since the start."),
                ("failures", "Requests that broke on this worker since the start."),
                ("draining", "1 while this worker is being removed."),
                ("cb_state", "Its circuit breaker: 0 is closed, 1 open, 2 half-open."),
            )
        }
        for worker in self._table.workers:
            labels = (worker.url, worker.role.value)
            gauges["active"].add_metric(labels, worker.active)
            gauges["healthy"].add_metric(labels, float(worker.is_healthy))
            gauges["requests"].add_metric(labels, worker.requests)
            gauges["failures"].add_metric(labels, worker.failures)
            gauges["draining"].add_metric(labels, float(worker.leaving))
            gauges["cb_state"].add_metric(labels, worker.breaker.state(self._clock()).value)
        yield from gauges.values()
        for name, value in (("open", self._admission.open), ("queued", self._admission.waiting)):
            yield GaugeMetricFamily(f"pdpanel_router_{name}_requests", f"Requests that are {name}.", value=value)


class RouterMetrics:
    """The registry of one router.

    Args:
        clock: the table's.
    """

    def __init__(self, table: WorkerTable, admission: Admission, clock: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Workers(table, admission, clock))
        self._requests = Counter(
            "pdpanel_router_requests", "Requests by how they ended.", ("route", "outcome"), registry=self._registry
        )
        self._retries = Counter(
            "pdpanel_router_retries", "Tries after a first one that failed.", ("role",), registry=self._registry
        )
        self._replays = Counter(
            "pdpanel_router_replays",
            "Streams that broke after they had begun: continued on another pair (begun, then completed), whole already "
            "(not_needed), or ended with an error (impossible).",
            ("outcome",),
            registry=self._registry,
        )
        self._ended: dict[tuple[str, str], Counter] = {}
        text = "Time that the router itself adds: before it asks the workers, and to relay the first event."
        self._added = {stage: Distribution(_ADDED_BUCKETS) for stage in ("dispatch", "first_event")}
        self._registry.register(Distributions("pdpanel_router_added_seconds", text, self._added, label="stage"))
        text = "From a request's arrival until its first event was sent, for those that stream."
        self._ttft = Distribution(_SERVED_BUCKETS)
        self._registry.register(Distributions("pdpanel_router_ttft_seconds", text, {"": self._ttft}))
        text = "From a request's arrival until its answer was sent, for those that ended well."
        self._duration = Distribution(_SERVED_BUCKETS)
        self._registry.register(Distributions("pdpanel_router_request_duration_seconds", text, {"": self._duration}))

    def watch_loop(self, lag: LoopLag) -> None:
        """Shows how late the event loop takes up work."""
        text = "How late the router's event loop takes up work that is due."
        self._registry.register(Distributions("pdpanel_router_loop_lag_seconds", text, {"": lag.late}))

    def watch_waiting(self, count: Callable[[], int]) -> None:
        """Shows how many requests wait for a worker, as `count` says."""
        text = "Requests that wait for a worker because a role has none."
        Gauge("pdpanel_router_waiting_requests", text, registry=self._registry).set_function(count)

    def ended(self, route: str, outcome: str) -> None:
        """Counts one request."""
        key = route, outcome
        if key not in self._ended:
            self._ended[key] = self._requests.labels(route, outcome)
        self._ended[key].inc()

    def began(self, seconds: float) -> None:
        """Notes when a stream's first event was sent, after its request came."""
        self._ttft.observe(seconds)

    def served(self, seconds: float) -> None:
        """Notes when an answer had been sent, after its request came."""
        self._duration.observe(seconds)

    def retried(self, roles: Iterable[str]) -> None:
        """Counts one more try, because of a worker of these roles."""
        for role in roles:
            self._retries.labels(role).inc()

    def replayed(self, outcome: str) -> None:
        """Counts one stream that broke after it had begun, or one that was continued to its end."""
        self._replays.labels(outcome).inc()

    def added(self, stage: str, seconds: float) -> None:
        """Notes time spent in the router at one `stage` (dispatch or first_event)."""
        self._added[stage].observe(seconds)

    def text(self) -> bytes:
        """Returns everything in Prometheus' text format."""
        return generate_latest(self._registry)
