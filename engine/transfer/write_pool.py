"""The threads that write: a fixed number of queues, to which links are shared out, and the threads of each queue.

A queue takes writes in the order in which they came, over all of its links; two writes of one link never run at the
same time. So a peer that stands still keeps one thread: those behind it in the same queue go on when the queue has
another one, or when the link is closed or its write fails. This is SGLang's model of
SGLANG_DISAGGREGATION_QUEUE_SIZE and _THREAD_POOL_SIZE. Threads start with the first write that needs them. One pool
belongs to one endpoint; `write_queue` is the side that a link sees.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .plan import Segment
from .ticket import WriteTicket

__all__ = ["Lane", "Shard", "Write", "WritePool"]


@dataclass(frozen=True, slots=True)
class Write:
    """A write as a transport executes it.

    Attributes:
        not_after: time.monotonic() from which on no segment is begun any more.
    """

    segments: tuple[Segment, ...]
    ticket: WriteTicket
    not_after: float

    @property
    def late(self) -> bool:
        """True when no segment may be begun any more; asked right before each."""
        return time.monotonic() >= self.not_after


class Lane:
    """One link's place in a queue: its writes run in order, one at a time.

    Args:
        shard: the queue; its lock guards all fields.
        execute: makes a write; must not raise.
    """

    def __init__(self, shard: Shard, execute: Callable[[Write], None]) -> None:
        self.shard = shard
        self.execute = execute
        self.waiting: deque[tuple[int, Write]] = deque()  # (number of arrival, write), oldest first
        self.runner: threading.Thread | None = None


class Shard:
    """One queue and its threads.

    Attributes:
        lock: held by the caller of `put` and `drop`.
        settled: notified when a write has run.
        lanes: links that share the queue.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.lock = threading.Lock()
        self.settled = threading.Condition(self.lock)
        self.lanes = 0
        self._name = name
        self._limit = threads
        self._work = threading.Condition(self.lock)
        self._ready: list[tuple[int, Lane]] = []  # heap: lanes with a write and no runner, by their oldest write
        self._count = 0
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._ended = False

    def put(self, lane: Lane, write: Write) -> None:
        """Queues a write."""
        self._count += 1
        lane.waiting.append((self._count, write))
        if len(lane.waiting) == 1 and lane.runner is None:
            self._offer(lane, self._idle)

    def drop(self, lane: Lane) -> list[Write]:
        """Takes back and returns the lane's writes that have not begun."""
        dropped = [write for _, write in lane.waiting]
        lane.waiting.clear()
        self._ready = [entry for entry in self._ready if entry[1] is not lane]
        heapq.heapify(self._ready)
        return dropped

    def end(self) -> None:
        """Ends the threads once nothing waits."""
        with self.lock:
            self._ended = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()

    def _offer(self, lane: Lane, takers: int) -> None:
        heapq.heappush(self._ready, (lane.waiting[0][0], lane))
        if len(self._ready) > takers and len(self._threads) < self._limit:
            thread = threading.Thread(target=self._run, name=f"{self._name}.{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._work.notify()

    def _run(self) -> None:
        while True:
            with self.lock:
                while not self._ready:
                    if self._ended:
                        return
                    self._idle += 1
                    self._work.wait()
                    self._idle -= 1
                _, lane = heapq.heappop(self._ready)
                _, write = lane.waiting.popleft()
                lane.runner = threading.current_thread()
            lane.execute(write)
            with self.lock:
                lane.runner = None
                if lane.waiting:
                    self._offer(lane, self._idle + 1)
                self.settled.notify_all()


class WritePool:
    """An endpoint's queues.

    Args:
        name: of the transport; names the threads.
        queues: how many queues the links are shared out to; 1 serves all peers first come, first served.
        threads: in all, at least one for each queue.
    """

    def __init__(self, name: str, *, queues: int, threads: int) -> None:
        assert threads >= queues >= 1
        spare = threads % queues
        self._shards = [
            Shard(f"{name} write {number}", threads // queues + (number < spare)) for number in range(queues)
        ]
        self._lock = threading.Lock()

    def join(self, execute: Callable[[Write], None]) -> Lane:
        """Returns a new link's lane, in the queue that the fewest links share."""
        with self._lock:
            shard = min(self._shards, key=lambda shard: shard.lanes)
            shard.lanes += 1
        return Lane(shard, execute)

    def leave(self, lane: Lane) -> None:
        """Gives a lane's place up."""
        with self._lock:
            lane.shard.lanes -= 1

    def close(self) -> None:
        """Ends the threads; after the links are closed."""
        for shard in self._shards:
            shard.end()
