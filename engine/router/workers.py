"""The workers behind the router: who is healthy, how busy each one is, and who takes the next request.

    state       an answer of /health           no answer, or not 200        a request failed on it   given up for dead
    starting    healthy                        starting                     starting                 starting
    healthy     healthy                        suspected                    suspected                unhealthy
    suspected   healthy                        unhealthy at the threshold   suspected                unhealthy
    unhealthy   healthy at the threshold       unhealthy                    unhealthy                unhealthy

A suspected worker gets requests only when its role has no healthy one; one that leaves, or whose circuit is open, gets
none. Pure: no sockets, and the clock is passed in; `health`, `tries` and `members` report to it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum

from ..errors import CapacityError
from .breaker import Breaker
from .config import BreakerConfig, CacheConfig, HealthConfig, PolicyName, Role, WorkerAddress
from .policies import CacheAware, pick

__all__ = ["Health", "NoWorkerError", "Worker", "WorkerTable"]


class Health(Enum):
    """What the router believes of a worker."""

    STARTING = "starting"
    HEALTHY = "healthy"
    SUSPECTED = "suspected"
    UNHEALTHY = "unhealthy"


class NoWorkerError(CapacityError):
    """Raised when no worker of a role can take a request."""


@dataclass(slots=True, eq=False)
class Worker:
    """One worker and what is known of it.

    Attributes:
        id: names it in the router's life.
        active: requests on it now.
        picked_at: the table's count of picks when this worker was last picked; 0 is never.
        reason: why it is not healthy; empty when it is.
        leaving: whether it is being removed, so that it gets no more requests.
        is_bundled: whether it answers /health as the bundled engine's workers do.
        heard_at: when it last sent anything, on the event loop's clock.
        lost_at: when it was last healthy and then no more, on the table's clock.
    """

    address: WorkerAddress
    id: str = ""
    breaker: Breaker = field(default_factory=lambda: Breaker(BreakerConfig()))
    health: Health = Health.STARTING
    reason: str = "not asked yet"
    active: int = 0
    requests: int = 0
    failures: int = 0
    picked_at: int = 0
    bad_polls: int = 0
    good_polls: int = 0
    ever_healthy: bool = False
    leaving: bool = False
    is_bundled: bool = False
    heard_at: float = 0.0
    lost_at: float = -math.inf

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return self.address.url

    @property
    def role(self) -> Role:
        """What it does."""
        return self.address.role

    @property
    def is_healthy(self) -> bool:
        """True when it answered its last poll and failed no request since."""
        return self.health is Health.HEALTHY and not self.leaving

    def describe(self, now: float) -> str:
        """Returns its URL and why it takes no request."""
        if self.leaving:
            return f"{self.url} is being removed"
        if self.health in (Health.HEALTHY, Health.SUSPECTED):
            return f"{self.url} failed too often and is tried again in {self.breaker.closes_in(now):.0f} s"
        return f"{self.url} is {self.health.value} ({self.reason})"


class WorkerTable:
    """All workers, in the order they were named.

    Args:
        rng: source of the policies' random choices.
        clock: seconds; for the circuit breakers.
    """

    def __init__(
        self,
        addresses: Iterable[WorkerAddress],
        health: HealthConfig,
        rng: random.Random,
        *,
        breaker: BreakerConfig | None = None,
        cache: CacheConfig | None = None,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._health = health
        self._breaker = breaker or BreakerConfig()
        self._caches = {role: CacheAware(cache or CacheConfig()) for role in Role}
        self._rng = rng
        self._clock = clock
        self._picks = 0
        self._ids = 0
        self._was_ready = False
        self._listeners: list[Callable[[], None]] = []
        self._workers: dict[str, Worker] = {}
        for address in addresses:
            self.add(address)
        self._roles = tuple(dict.fromkeys(worker.role for worker in self.workers))

    @property
    def workers(self) -> tuple[Worker, ...]:
        """All of them."""
        return tuple(self._workers.values())

    def add(self, address: WorkerAddress) -> Worker:
        """Adds a worker whose URL is not in the table, and returns it."""
        assert address.url not in self._workers
        worker = Worker(address, str(self._ids), Breaker(self._breaker))
        self._ids += 1
        self._workers[address.url] = worker
        return worker

    def remove(self, worker: Worker) -> None:
        """Forgets a worker."""
        if self._workers.pop(worker.url, None) is not None:
            self._caches[worker.role].forget(worker.url)

    @property
    def all_bundled(self) -> bool:
        """True when every worker that ever answered is one of the bundled engine."""
        return all(worker.is_bundled for worker in self._workers.values() if worker.ever_healthy)

    def find(self, name: str) -> Worker | None:
        """Returns the worker with this id or URL."""
        named = self._workers.get(name.rstrip("/"))
        return named or next((worker for worker in self._workers.values() if worker.id == name), None)

    def of_role(self, role: Role) -> list[Worker]:
        """The workers of `role`."""
        return [worker for worker in self._workers.values() if worker.role is role]

    def _usable(self, role: Role) -> list[Worker]:
        now = self._clock()
        return [
            w
            for w in self.of_role(role)
            if w.health in (Health.HEALTHY, Health.SUSPECTED) and not w.leaving and w.breaker.passes(now)
        ]

    def listen(self, listener: Callable[[], None]) -> None:
        """Has `listener` called whenever a worker has become healthy."""
        self._listeners.append(listener)

    def vacant(self, roles: Iterable[Role]) -> tuple[Role, ...]:
        """Returns those of `roles` that have nobody to ask."""
        return tuple(role for role in roles if not self._usable(role))

    def closes_in(self, role: Role) -> float:
        """Returns the seconds until the first open circuit of `role` lets requests pass; inf when none is open."""
        now = self._clock()
        waits = (worker.breaker.closes_in(now) for worker in self.of_role(role))
        return min((wait for wait in waits if wait > 0), default=math.inf)

    def may_return(self, role: Role, within_s: float, *, lately: bool) -> bool:
        """True when a worker of `role` may take requests again within that many seconds.

        Args:
            lately: only one that was lost no longer ago than that may.
        """
        now = self._clock()
        for worker in self.of_role(role):
            if worker.leaving:
                continue
            if worker.health in (Health.HEALTHY, Health.SUSPECTED):
                is_soon = worker.breaker.closes_in(now) <= within_s
            else:
                is_soon = not lately or now - worker.lost_at < within_s
            if is_soon:
                return True
        return False

    def has_another(self, role: Role, avoid: Collection[str]) -> bool:
        """True when a worker of `role` that is not in `avoid` could take a request."""
        return any(worker.url not in avoid for worker in self._usable(role))

    def choose(self, role: Role, policy: PolicyName, avoid: Collection[str] = (), prompt: bytes = b"") -> Worker:
        """Returns a worker for the next request, rather not one of the URLs in `avoid`.

        Args:
            prompt: what prompts are told alike by, for the policy cache_aware.

        Raises:
            NoWorkerError: no worker of this role is healthy or suspected, or requests failed on all of these.
        """
        usable = self._usable(role)
        if not usable:
            raise self._nobody(role)
        fresh = [w for w in usable if w.url not in avoid]
        candidates = [w for w in fresh if w.is_healthy] or fresh or usable
        if policy is PolicyName.CACHE_AWARE:
            worker = self._caches[role].pick(candidates, prompt)
        else:
            worker = pick(policy, candidates, self._rng)
        self._picks += 1
        worker.picked_at = self._picks
        return worker

    def _nobody(self, role: Role) -> NoWorkerError:
        now = self._clock()
        workers = self.of_role(role)
        listed = "; ".join(worker.describe(now) for worker in workers) or "there is none"
        waits = [wait for worker in workers if (wait := worker.breaker.closes_in(now)) > 0]
        return NoWorkerError(f"No {role.value} worker is healthy: {listed}.", min(waits, default=1.0))

    def _leave(self, worker: Worker, health: Health, reason: str) -> None:
        if worker.health is Health.HEALTHY:
            worker.lost_at = self._clock()
        worker.health, worker.reason = health, reason

    def evict(self) -> None:
        """Cleans up what the policy cache_aware remembers."""
        for cache in self._caches.values():
            cache.evict()

    def poll_answered(self, worker: Worker) -> None:
        """Notes that `worker` said it is well."""
        worker.bad_polls = 0
        worker.good_polls += 1
        was_down = worker.health is Health.UNHEALTHY
        needed = self._health.success_threshold if was_down and worker.ever_healthy else 1
        if worker.good_polls >= needed:
            was_healthy = worker.health is Health.HEALTHY
            worker.health, worker.reason, worker.ever_healthy = Health.HEALTHY, "", True
            if was_down:
                worker.breaker.reset()
            if not was_healthy:
                for listener in self._listeners:
                    listener()

    def poll_failed(self, worker: Worker, reason: str, *, startup_over: bool = False) -> None:
        """Notes that `worker` gave no good answer; `startup_over` says that its time to start has passed."""
        worker.good_polls = 0
        worker.bad_polls += 1
        if worker.health is Health.STARTING:
            worker.reason = reason
            if startup_over:
                worker.health = Health.UNHEALTHY
            return
        if worker.bad_polls >= self._health.failure_threshold:
            self._leave(worker, Health.UNHEALTHY, reason)
        else:
            self._leave(worker, Health.SUSPECTED if worker.health is Health.HEALTHY else worker.health, reason)

    def given_up(self, worker: Worker, reason: str) -> None:
        """Notes that `worker` is taken for dead."""
        if worker.health is not Health.STARTING:
            self._leave(worker, Health.UNHEALTHY, reason)
            worker.good_polls = 0

    def request_failed(self, worker: Worker, reason: str, *, own_fault: bool = True) -> None:
        """Notes that a request broke on `worker`, which makes a healthy one suspected at once.

        Args:
            own_fault: False when the other half of its pair may be the reason.
        """
        if own_fault:
            worker.failures += 1
        if worker.health is Health.HEALTHY:
            self._leave(worker, Health.SUSPECTED, reason)
            worker.bad_polls = worker.good_polls = 0
            if own_fault:
                # Requests that break together have one reason: until it says that it is well, it has failed once.
                worker.breaker.failed(self._clock())

    def request_succeeded(self, worker: Worker) -> None:
        """Notes that a request went well on `worker`."""
        worker.breaker.succeeded(self._clock())

    def unready_reason(self) -> str:
        """Returns why no request should be sent yet, or an empty string when every role can serve.

        Until it has been ready once, it waits for every worker that may still be starting.
        """
        starting = [w for w in self.workers if w.health is Health.STARTING and not w.leaving]
        if starting and not self._was_ready:
            return "starting: " + "; ".join(f"{w.role.value} {w.url} ({w.reason})" for w in starting)
        for role in self._roles:
            workers = self.of_role(role)
            if not any(w.is_healthy for w in workers):
                listed = "; ".join(w.describe(self._clock()) for w in workers) or "there is none"
                return f"no healthy {role.value} worker: {listed}"
        self._was_ready = True
        return ""
