"""The workers behind the router: who is healthy, how busy each one is, and who takes the next request.

    state       an answer of /health           no answer, or not 200        a request failed on it
    starting    healthy                        starting                     starting
    healthy     healthy                        suspected                    suspected
    suspected   healthy                        unhealthy at the threshold   suspected
    unhealthy   healthy at the threshold       unhealthy                    unhealthy

A suspected worker gets requests only when its role has no healthy one. Pure: no sockets and no clock; `health` and
the relay report to it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ..errors import CapacityError
from .config import HealthConfig, PolicyName, Role, WorkerAddress

__all__ = ["Health", "NoWorkerError", "Worker", "WorkerTable", "pick"]


class Health(Enum):
    """What the router believes of a worker."""

    STARTING = "starting"
    HEALTHY = "healthy"
    SUSPECTED = "suspected"
    UNHEALTHY = "unhealthy"


class NoWorkerError(CapacityError):
    """Raised when no worker of a role can take a request."""


@dataclass(slots=True)
class Worker:
    """One worker and what is known of it.

    Attributes:
        active: requests on it now.
        picked_at: the table's count of picks when this worker was last picked; 0 is never.
        reason: why it is not healthy; empty when it is.
    """

    address: WorkerAddress
    health: Health = Health.STARTING
    reason: str = "not asked yet"
    active: int = 0
    requests: int = 0
    failures: int = 0
    picked_at: int = 0
    bad_polls: int = 0
    good_polls: int = 0
    ever_healthy: bool = field(default=False)

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
        return self.health is Health.HEALTHY


def pick(policy: PolicyName, workers: Sequence[Worker], rng: random.Random) -> Worker:
    """Returns the worker of `workers` (at least one) that `policy` gives the next request.

    Round robin takes the one that has waited longest, so it stays fair while workers come and go. Power of two draws
    two and takes the less loaded one.
    """
    if policy is PolicyName.ROUND_ROBIN:
        return min(workers, key=lambda worker: worker.picked_at)
    if policy is PolicyName.POWER_OF_TWO and len(workers) > 1:
        first, second = rng.sample(range(len(workers)), 2)
        return min(workers[first], workers[second], key=lambda worker: worker.active)
    return workers[rng.randrange(len(workers))]


class WorkerTable:
    """All configured workers.

    Args:
        rng: source of the policies' random choices.
    """

    def __init__(self, addresses: Iterable[WorkerAddress], health: HealthConfig, rng: random.Random) -> None:
        self.workers = tuple(Worker(address) for address in addresses)
        self._health = health
        self._rng = rng
        self._picks = 0
        self._was_ready = False

    def of_role(self, role: Role) -> list[Worker]:
        """The workers of `role`, in the order they were named."""
        return [worker for worker in self.workers if worker.role is role]

    def choose(self, role: Role, policy: PolicyName, avoid: Collection[str] = ()) -> Worker:
        """Returns a worker for the next request, rather not one of the URLs in `avoid`.

        Raises:
            NoWorkerError: no worker of this role is healthy or suspected.
        """
        candidates = self.of_role(role)
        usable = [w for w in candidates if w.health in (Health.HEALTHY, Health.SUSPECTED)]
        if not usable:
            listed = "; ".join(f"{w.url} is {w.health.value} ({w.reason})" for w in candidates)
            raise NoWorkerError(f"No {role.value} worker is healthy: {listed}.")
        fresh = [w for w in usable if w.url not in avoid]
        healthy = [w for w in fresh if w.is_healthy]
        worker = pick(policy, healthy or fresh or usable, self._rng)
        self._picks += 1
        worker.picked_at = self._picks
        return worker

    def poll_answered(self, worker: Worker) -> None:
        """Notes that `worker` said it is well."""
        worker.bad_polls = 0
        worker.good_polls += 1
        needed = self._health.success_threshold if worker.health is Health.UNHEALTHY and worker.ever_healthy else 1
        if worker.good_polls >= needed:
            worker.health, worker.reason, worker.ever_healthy = Health.HEALTHY, "", True

    def poll_failed(self, worker: Worker, reason: str, *, startup_over: bool = False) -> None:
        """Notes that `worker` gave no good answer; `startup_over` says that its time to start has passed."""
        worker.good_polls = 0
        worker.bad_polls += 1
        if worker.health is Health.STARTING:
            worker.reason = reason
            if startup_over:
                worker.health = Health.UNHEALTHY
            return
        worker.reason = reason
        if worker.bad_polls >= self._health.failure_threshold:
            worker.health = Health.UNHEALTHY
        elif worker.health is Health.HEALTHY:
            worker.health = Health.SUSPECTED

    def request_failed(self, worker: Worker, reason: str) -> None:
        """Notes that a request broke on `worker`, which makes a healthy one suspected at once."""
        worker.failures += 1
        if worker.health is Health.HEALTHY:
            worker.health, worker.reason = Health.SUSPECTED, reason
            worker.bad_polls = worker.good_polls = 0

    def unready_reason(self) -> str:
        """Returns why no request should be sent yet, or an empty string when every role can serve.

        Until it has been ready once, it waits for every worker that may still be starting.
        """
        starting = [w for w in self.workers if w.health is Health.STARTING]
        if starting and not self._was_ready:
            return "starting: " + "; ".join(f"{w.role.value} {w.url} ({w.reason})" for w in starting)
        for role in dict.fromkeys(w.role for w in self.workers):
            workers = self.of_role(role)
            if not any(w.is_healthy for w in workers):
                listed = "; ".join(f"{w.url} is {w.health.value} ({w.reason})" for w in workers)
                return f"no healthy {role.value} worker: {listed}"
        self._was_ready = True
        return ""
