"""One write as Mooncake's engine carries it: a window of jobs under way at a time, asked about with pauses that fit.

Many small segments cost a round trip each where one begins only when the one before it has ended; in a window they
travel together, as in Mooncake's own batches. A large one is cut, since Mooncake sends a job over one connection of the
four that it has to a peer. Knows an engine's two calls, no links and no tickets.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from .api import TransferSettings
from .plan import Segment

__all__ = ["DONE", "NOT_STARTED", "RUNNING", "TIMED_OUT", "Flight", "JobEngine", "Pace", "pieces"]

RUNNING, DONE, TIMED_OUT = 0, 1, -2
NOT_STARTED = -1000  # ours
# A submit that fails returns 0 or -1 by version; asking for the status of such a job ends the process.
_NO_JOBS = (0, -1, (1 << 64) - 1)
# Mooncake queues 1,024 transfers to a peer. All jobs together stay far below the 1 GiB that the hard timeout counts
# with. Jobs of 1 to 4 MiB are fastest within one host, 1.7 times as fast as one of 12 MiB.
_WINDOW_JOBS, _JOB_BYTES = 64, 1 << 20
_GRACE_S = 1.0
_PAUSE_SHARE, _SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 1 / 32, 20e-6, 2e-3
_TELLING_BYTES = 256 << 10  # fewer say something of latency, nothing of speed


def pieces(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Yields the segments in order, cut so that each is a job; those without bytes are left out."""
    for segment in segments:
        for done in range(0, segment.length, _JOB_BYTES):
            yield Segment(segment.source + done, segment.target + done, min(_JOB_BYTES, segment.length - done))


class JobEngine(Protocol):
    """The calls of `mooncake.engine.TransferEngine` that carry bytes."""

    def transfer_submit_write(self, session: str, source: int, target: int, length: int) -> int:
        """Begins a write; returns its job."""
        ...

    def transfer_check_status(self, job: int) -> int:
        """Returns how a job stands; one that has ended may not be asked about again."""
        ...


class Pace:
    """When to ask for a write that is under way, from how fast those before it went.

    Asking costs processor time that the forward pass needs, and asking late costs speed: so it is asked after half of
    the time that is left by the guess, and from then on each time that has grown by a share.
    """

    def __init__(self) -> None:
        self._bytes_per_s = 0.0

    def pause_s(self, size: int, elapsed: float) -> float:
        """Returns how long to wait, `elapsed` seconds after `size` bytes were seen under way."""
        expected = size / self._bytes_per_s if self._bytes_per_s else 0.0
        pause = max((expected - elapsed) / 2, elapsed * _PAUSE_SHARE)
        return min(max(pause, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)

    def learn(self, size: int, seconds: float) -> None:
        """Takes a write that has ended well."""
        if size >= _TELLING_BYTES and seconds > 0:
            self._bytes_per_s = size / seconds


@dataclass(frozen=True, slots=True)
class _Job:
    number: int
    size: int
    ends: float


class Flight:
    """The jobs of one write that are under way, oldest first.

    Attributes:
        size: their bytes.
        since: time.monotonic() at which a job was begun or seen done last.
    """

    def __init__(self, engine: JobEngine, session: str, settings: TransferSettings) -> None:
        self._engine = engine
        self._session = session
        self._settings = settings
        self._jobs: deque[_Job] = deque()
        self.size = 0
        self.since = time.monotonic()

    @property
    def jobs(self) -> list[int]:
        """The numbers of the jobs under way."""
        return [job.number for job in self._jobs]

    @property
    def has_room(self) -> bool:
        """Whether another job may be begun."""
        return len(self._jobs) < _WINDOW_JOBS

    def begin(self, source: int, target: int, length: int) -> bool:
        """Begins a job between two addresses; False when the engine does not take it."""
        number = self._engine.transfer_submit_write(self._session, source, target, length)
        if number in _NO_JOBS:
            return False
        self.size += length
        self.since = time.monotonic()
        # Mooncake's own limit is a little shorter, and ends the job itself.
        ends = self.since + self._settings.limit_s(self.size) + _GRACE_S
        self._jobs.append(_Job(number, length, ends))
        return True

    def settle(self) -> int:
        """Forgets the oldest jobs that are done; returns RUNNING, DONE when none is left, or how one failed."""
        while self._jobs:
            job = self._jobs[0]
            status = int(self._engine.transfer_check_status(job.number))
            if status == RUNNING:
                return RUNNING
            self._jobs.popleft()
            self.size -= job.size
            self.since = time.monotonic()
            if status != DONE:
                return status
        return DONE

    def is_overdue(self, now: float) -> bool:
        """Returns whether the oldest job should have ended."""
        return bool(self._jobs) and now > self._jobs[0].ends
