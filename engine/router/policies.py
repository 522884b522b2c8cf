"""How one of several workers is picked for a request. Pure: random numbers are passed in.

Loads are the requests that this router has on a worker, those that wait there included.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

from .config import CacheConfig, PolicyName
from .prefix_tree import PrefixTree

__all__ = ["CacheAware", "Candidate", "pick"]


class Candidate(Protocol):
    """What a policy needs to know of a worker.

    Attributes:
        active: requests on it now.
        picked_at: the count of picks when it was last picked; 0 is never.
    """

    active: int
    picked_at: int

    @property
    def url(self) -> str:
        """Names it."""
        ...


_C = TypeVar("_C", bound=Candidate)


def pick(policy: PolicyName, workers: Sequence[_C], rng: random.Random) -> _C:
    """Returns the worker of `workers` (at least one) that `policy` gives the next request.

    Round robin takes the one that has waited longest, so it stays fair while workers come and go. Power of two draws
    two and takes the less loaded one. Cache aware is a choice of its own (`CacheAware`).
    """
    if policy is PolicyName.ROUND_ROBIN:
        return min(workers, key=lambda worker: worker.picked_at)
    if policy is PolicyName.POWER_OF_TWO and len(workers) > 1:
        first, second = rng.sample(range(len(workers)), 2)
        return min(workers[first], workers[second], key=lambda worker: worker.active)
    return workers[rng.randrange(len(workers))]


class CacheAware:
    """Sends a prompt where most of its beginning has been, unless the loads are too uneven.

    The rules and defaults are sglang_router's: when the most loaded worker has over `balance_abs` requests more than
    the least loaded one, and over `balance_rel` times as many, that one gets the request. Else the worker with the
    longest known beginning does, if it is over `threshold` of the prompt, and else the one that remembers least. Among
    equals the least loaded one, then the one that has waited longest.
    """

    def __init__(self, config: CacheConfig) -> None:
        self._config = config
        self._tree = PrefixTree()

    def pick(self, workers: Sequence[_C], prompt: bytes) -> _C:
        """Returns the worker for `prompt`, and remembers it."""
        picked = self._choice(workers, prompt)
        self._tree.insert(prompt, picked.url)
        return picked

    def _choice(self, workers: Sequence[_C], prompt: bytes) -> _C:
        least = min(worker.active for worker in workers)
        most = max(worker.active for worker in workers)
        if most - least > self._config.balance_abs and most > least * self._config.balance_rel:
            return min(workers, key=_idleness)
        length, owners = self._tree.match(prompt, {worker.url for worker in workers})
        if prompt and length / len(prompt) > self._config.threshold:
            return min((worker for worker in workers if worker.url in owners), key=_idleness)
        return min(workers, key=lambda worker: (self._tree.size(worker.url), *_idleness(worker)))

    def evict(self) -> None:
        """Brings what is remembered of each worker down to its limit."""
        self._tree.evict(self._config.max_tree_size)

    def forget(self, url: str) -> None:
        """Forgets a worker that is gone."""
        self._tree.forget(url)


def _idleness(worker: Candidate) -> tuple[int, int]:
    return worker.active, worker.picked_at
