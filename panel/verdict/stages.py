"""Where the requests of a run are, and how busy each part is: means over a window of samples.

Little's law is the tool: the mean number of requests in a part is its throughput times the time that they spend there,
whatever the distributions are. Who waits for a place waits for those who hold it, so a request that decode has no place
for is counted where the holders are. Pure; `judge` calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .shape import Shape, Worker
from .values import Limit

__all__ = ["Part", "Row", "Stages", "stages_of"]

Row = tuple[float, Mapping[str, float]]

FULL = 0.95
"""Pages in use from this share on count as used up: what is left is too small for most requests."""

_TURNS = 2.0
"""Times that a request waits for a router's event loop: when it comes, and when its last answer does."""


@dataclass(slots=True)
class _Totals:
    """Sums over the rows that know a quantity."""

    value: float = 0.0
    rows: int = 0

    def add(self, value: float) -> None:
        self.value += value
        self.rows += 1

    @property
    def mean(self) -> float:
        return self.value / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a run.

    Attributes:
        requests: mean number that it has, those that wait for it included.
        waiting: of these, who waits because all places or pages are taken.
        busy: share of the time in which it has work, as a mean over its workers; of decode, of its places that are
            taken, since it computes all of its requests at once.
        working: share of the time in which it computes anything.
    """

    limit: Limit
    requests: float
    waiting: float
    busy: float
    working: float


@dataclass(frozen=True, slots=True)
class Stages:
    """All parts over a window.

    Attributes:
        population: requests in the run, row by row.
        rows: rows that say something of the workers.
        span_s: from the first to the last of them.
        throttled: share of the time in which prefill had work and no pages for it.
        outside: mean number of requests that wait for the router's event loop beyond those that it has counted.
    """

    parts: Mapping[Limit, Part]
    population: Sequence[float] = field(default_factory=tuple)
    rows: int = 0
    span_s: float = 0.0
    throttled: float = 0.0
    outside: float = 0.0

    @property
    def requests(self) -> float:
        """Mean number of requests in the run."""
        return sum(self.population) / len(self.population) + self.outside if self.population else 0.0


@dataclass(slots=True)
class _Sums:
    """What is added up row by row.

    Attributes:
        beyond: requests that the router counts and no worker has.
        outside: those that wait for the router's event loop, by Little's law: in its sockets it cannot count them.
    """

    requests: dict[Limit, _Totals] = field(default_factory=dict)
    waiting: dict[Limit, _Totals] = field(default_factory=dict)
    busy: dict[Limit, _Totals] = field(default_factory=dict)
    working: dict[Limit, _Totals] = field(default_factory=dict)
    beyond: _Totals = field(default_factory=_Totals)
    outside: _Totals = field(default_factory=_Totals)
    held: _Totals = field(default_factory=_Totals)
    throttled: _Totals = field(default_factory=_Totals)
    population: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def add(self, limit: Limit, requests: float, busy: float, working: float, waiting: float = 0.0) -> None:
        for totals, value in (
            (self.requests, requests),
            (self.busy, busy),
            (self.working, working),
            (self.waiting, waiting),
        ):
            totals.setdefault(limit, _Totals()).add(value)


def stages_of(rows: Iterable[Row], shape: Shape) -> Stages:
    """Returns the means over rows, oldest first; a row that lacks a worker's queues is passed over."""
    sums = _Sums()
    for t, values in rows:
        seen = _unified_row(sums, values, shape) if shape.unified else _pd_row(sums, values, shape)
        if seen is None:
            continue
        sums.times.append(t)
        sums.population.append(_router_row(sums, values, shape, seen))
    parts = {limit: _part(sums, limit) for limit in sums.requests}
    if sums.beyond.rows:
        parts[Limit.ROUTER] = _router_part(sums, shape)
    span = sums.times[-1] - sums.times[0] if sums.times else 0.0
    outside = max(0.0, sums.outside.mean - max(0.0, sums.beyond.mean))
    return Stages(parts, tuple(sums.population), len(sums.times), span, sums.throttled.mean, outside)


def _part(sums: _Sums, limit: Limit) -> Part:
    return Part(
        limit,
        sums.requests[limit].mean,
        sums.waiting[limit].mean,
        min(1.0, sums.busy[limit].mean),
        min(1.0, sums.working[limit].mean),
    )


def _of(values: Mapping[str, float], worker: Worker, quantity: str) -> float | None:
    return values.get(f"proc/{worker.name}/{quantity}")


def _sum(values: Mapping[str, float], workers: Sequence[Worker], quantity: str) -> float:
    return sum(_of(values, worker, quantity) or 0.0 for worker in workers)


def _share(workers: Sequence[Worker], one: Callable[[Worker], float]) -> float:
    return sum(one(worker) for worker in workers) / len(workers)


def _at_prefill(values: Mapping[str, float], worker: Worker) -> float:
    """Returns the requests that this worker computes or could compute.

    The bundled engine, which alone tells slot pages, counts those that wait for decode among the queued ones.
    """
    waiting = _of(values, worker, "queued") or 0.0
    if _of(values, worker, "slot_pages_used") is not None:
        waiting -= _of(values, worker, "bootstrap_queue") or 0.0
    return (_of(values, worker, "running") or 0.0) + max(0.0, waiting)


def _for_decode(values: Mapping[str, float], worker: Worker) -> float:
    """Returns the requests that have no place at this decode worker yet; the bundled engine's queue is all of them."""
    queued, prealloc = _of(values, worker, "queued") or 0.0, _of(values, worker, "prealloc_queue") or 0.0
    return queued if _of(values, worker, "slot_pages_used") is not None else queued + prealloc


def _waiting_for_decode(values: Mapping[str, float], shape: Shape) -> tuple[float, float]:
    """Returns who waits for a place at decode, and who is granted one that prefill does not know of.

    Both sides count who waits; decode, where it tells, knows it first.
    """
    at_prefill = _sum(values, shape.prefill, "bootstrap_queue")
    if not any(_of(values, worker, "prealloc_queue") is not None for worker in shape.decode):
        return at_prefill, 0.0
    waiting = sum(_for_decode(values, worker) for worker in shape.decode)
    return waiting, max(0.0, at_prefill - waiting) if _sum(values, shape.decode, "transfer_queue") else 0.0


def _has_no_pages(values: Mapping[str, float], worker: Worker) -> bool:
    """Returns whether prefill cannot begin a prompt because the KV of those before has not left yet."""
    if not _of(values, worker, "inflight_queue") or _at_prefill(values, worker) < 1:
        return False
    staging = _of(values, worker, "staging_pages_used")
    if staging is not None and worker.staging_pages:
        return staging >= FULL * worker.staging_pages
    return (_of(values, worker, "kv_usage_percent") or 0.0) >= 100.0 * FULL


def _pd_row(sums: _Sums, values: Mapping[str, float], shape: Shape) -> float | None:
    """Adds a row of a run with prefill and decode apart; returns the requests at its workers."""
    if any(_of(values, worker, "running") is None for worker in (*shape.prefill, *shape.decode)):
        return None
    stuck = {worker.name for worker in shape.prefill if _has_no_pages(values, worker)}
    computing = sum(_at_prefill(values, worker) for worker in shape.prefill if worker.name not in stuck)
    held_up = sum(_at_prefill(values, worker) for worker in shape.prefill if worker.name in stuck)
    travelling = max(_sum(values, shape.prefill, "inflight_queue"), 0.0) + held_up
    decoding = _sum(values, shape.decode, "running")
    waiting, ungranted = _waiting_for_decode(values, shape)
    # Decode has granted these pages already, and prefill has not come to take them.
    computing += ungranted
    holders = decoding + computing + travelling
    shares = {
        Limit.PREFILL: computing / holders if holders else 0.0,
        Limit.TRANSFER: travelling / holders if holders else 0.0,
        Limit.DECODE: decoding / holders if holders else 1.0,
    }
    sums.throttled.add(len(stuck) / len(shape.prefill))
    busy = _share(shape.prefill, lambda w: float(w.name not in stuck and _at_prefill(values, w) > 0))
    sums.add(Limit.PREFILL, computing + shares[Limit.PREFILL] * waiting, busy, busy)
    moving = _share(shape.prefill, lambda w: float((_of(values, w, "inflight_queue") or 0) > 0))
    sums.add(Limit.TRANSFER, travelling + shares[Limit.TRANSFER] * waiting, moving, moving)
    kept = shares[Limit.DECODE] * waiting
    taken = _share(shape.decode, lambda w: _places(values, w))
    # Who waits is proof enough that no place is left, whatever the bound is: pages run out before places do.
    full = shares[Limit.DECODE] if kept >= 1 else 0.0
    working = _share(shape.decode, lambda w: float((_of(values, w, "running") or 0) > 0))
    sums.add(Limit.DECODE, decoding + kept, max(taken, full), working, kept)
    granted = _sum(values, shape.decode, "transfer_queue")
    return decoding + waiting + max(granted, computing + travelling)


def _places(values: Mapping[str, float], worker: Worker) -> float:
    running = _of(values, worker, "running") or 0.0
    return min(1.0, running / worker.most_running) if worker.most_running else 0.0


def _unified_row(sums: _Sums, values: Mapping[str, float], shape: Shape) -> float | None:
    """Adds a row of a run of unified workers; returns the requests at them."""
    if any(_of(values, worker, "running") is None for worker in shape.unified):
        return None
    running, queued = _sum(values, shape.unified, "running"), _sum(values, shape.unified, "queued")
    taken = _share(shape.unified, lambda w: max(_places(values, w), float((_of(values, w, "queued") or 0) >= 1)))
    working = _share(shape.unified, lambda w: float((_of(values, w, "running") or 0) > 0))
    sums.add(Limit.UNIFIED, running + queued, taken, working, queued)
    return running + queued


def _router_row(sums: _Sums, values: Mapping[str, float], shape: Shape, at_workers: float) -> float:
    """Adds what the router says; returns the requests in the run."""
    known = _known(values, shape.routers, "running")
    if not known:
        return at_workers
    queued = sum(values.get(f"proc/{name}/queued", 0.0) for name in shape.routers)
    # Two pages are never read at the same instant: the difference of one row means nothing, their mean does.
    sums.beyond.add(sum(known) + queued - at_workers)
    sums.held.add(float(sum(known) + queued - at_workers >= 1))
    lags = _known(values, shape.routers, "loop_lag_s")
    if lags and (rate := values.get("run/requests_per_s")) is not None:
        sums.outside.add(rate * _TURNS * sum(lags) / len(lags))
    # A loop that is late has work, or waits for a core: what a CPU quota takes away is no CPU time.
    busy = [*_known(values, shape.routers, "cpu_percent"), *_known(values, shape.routers, "loop_late_percent")]
    if busy:
        sums.add(Limit.ROUTER, 0.0, max(busy) / 100.0, max(busy) / 100.0)
    return max(sum(known) + queued, at_workers)


def _known(values: Mapping[str, float], names: Iterable[str], quantity: str) -> list[float]:
    return [value for name in names if (value := values.get(f"proc/{name}/{quantity}")) is not None]


def _router_part(sums: _Sums, shape: Shape) -> Part:
    requests = max(0.0, sums.beyond.mean, sums.outside.mean)
    # One core is all that a router of one thread can have.
    core = min(1.0, sums.busy[Limit.ROUTER].mean) if Limit.ROUTER in sums.busy else 0.0
    held = sums.held.mean if requests >= 1 else 0.0
    return Part(Limit.ROUTER, requests, 0.0, max(core, held), max(core, held))
