"""What one worker of a role does with a load: requests per second, and the delays at a rate.

A queue in front of a prefill worker is taken as M/D/1: requests come at random, each takes the same time. Decode
batches as many sequences as memory and the goal for the time between tokens allow. Pure; `suggest` puts roles together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from .parallelism import Parallelism
from .speed import Speed
from .split import Load

__all__ = ["MOST_BATCH", "DecodeRole", "PrefillRole", "UnifiedRole", "busy_share"]

MOST_BATCH = 1024


def busy_share(service_s: float, wait_s: float) -> float:
    """Returns how busy an M/D/1 server may be so that the mean wait is `wait_s`; 1 for an infinite wait."""
    if wait_s == inf:
        return 1.0
    return 2 * wait_s / (service_s + 2 * wait_s) if wait_s > 0 else 0.0


def _wait_s(service_s: float, busy: float) -> float:
    return service_s * busy / (2 * (1 - busy)) if busy < 1 else inf


def _least(most: int, enough: Callable[[int], bool]) -> int:
    """Returns the least batch up to `most` that is enough; `most` when none is. `enough` stays true once it is."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _greatest(most: int, allowed: Callable[[int], bool]) -> int:
    """Returns the greatest batch up to `most` that is allowed, 0 when none is. `allowed` stays false once it is."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if allowed(middle):
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(frozen=True, slots=True)
class PrefillRole:
    """One prefill worker."""

    parallel: Parallelism
    speed: Speed
    load: Load

    @property
    def service_s(self) -> float:
        """Seconds of one prompt."""
        return self.speed.prefill_s(self.load.prompt)

    def capacity(self, transfer_s: float) -> float:
        """Returns requests per second within the goal for the first token, of which the transfer takes a part."""
        service = self.service_s
        if self.load.ttft_ms is None:
            return 1 / service
        return busy_share(service, self.load.ttft_ms / 1e3 - service - transfer_s) / service

    def ttft_s(self, rate: float, transfer_s: float, *, queue: bool) -> float:
        """Returns the seconds to the first token at a rate; infinite when more comes than is served.

        Args:
            rate: requests per second of this worker.
            transfer_s: seconds of one prompt's KV.
            queue: False for a client that sends as fast as it is answered, so that nothing waits.
        """
        service = self.service_s
        return service + transfer_s + (_wait_s(service, rate * service) if queue else 0.0)


@dataclass(frozen=True, slots=True)
class DecodeRole:
    """One decode worker.

    Attributes:
        fits: sequences that its memory holds.
    """

    parallel: Parallelism
    speed: Speed
    load: Load
    fits: int

    @property
    def context(self) -> float:
        """Tokens of a sequence halfway through its answer."""
        return self.load.prompt + self.load.output / 2

    @property
    def steps(self) -> int:
        """Steps of a request: prefill gives the first token."""
        return self.load.output - 1

    def step_s(self, batch: int) -> float:
        """Returns the seconds of one step."""
        return self.speed.step_s(batch, self.context)

    @property
    def most_batch(self) -> int:
        """The largest batch that memory and the goal allow; 0 when no batch keeps the goal."""
        most = min(self.fits, MOST_BATCH, self.speed.largest_batch or MOST_BATCH)
        goal = self.load.itl_ms
        return most if goal is None else _greatest(most, lambda batch: self.step_s(batch) * 1e3 <= goal)

    def capacity_at(self, batch: int) -> float:
        """Returns requests per second with `batch` sequences at a time."""
        if not self.steps:
            return inf
        return batch / (self.steps * self.step_s(batch)) if batch else 0.0

    def batch_at(self, rate: float, most: int) -> int:
        """Returns the batch that a rate leads to, `most` at most."""
        return _least(max(most, 1), lambda batch: self.capacity_at(batch) >= rate)


@dataclass(frozen=True, slots=True)
class UnifiedRole:
    """One worker that does both; prompts go first, and decoding waits for them."""

    prefill: PrefillRole
    decode: DecodeRole

    def step_s(self, batch: int) -> float:
        """Returns the seconds between tokens with `batch` sequences, the prompts in between included."""
        prompts = batch / self.decode.steps * self.prefill.service_s if self.decode.steps else 0.0
        return self.decode.step_s(batch) + prompts

    @property
    def most_batch(self) -> int:
        """The largest batch that memory and the goal allow."""
        goal, most = self.decode.load.itl_ms, self.decode.most_batch
        if goal is None or not self.decode.steps:
            return most
        return _greatest(most, lambda batch: self.step_s(batch) * 1e3 <= goal)

    def capacity_at(self, batch: int) -> float:
        """Returns requests per second with `batch` sequences, whatever the goal for the first token."""
        decode = self.decode.capacity_at(batch)
        return 1 / (self.prefill.service_s + (1 / decode if decode else inf))

    def capacity(self, batch: int) -> float:
        """Returns requests per second within the goals."""
        # A prompt waits for the step that runs.
        return min(self.capacity_at(batch), self.prefill.capacity(self.decode.step_s(max(batch, 1))))

    def batch_at(self, rate: float, most: int) -> int:
        """Returns the batch that a rate leads to, `most` at most."""
        return _least(max(most, 1), lambda batch: self.capacity_at(batch) >= rate)
