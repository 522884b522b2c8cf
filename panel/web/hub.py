"""The one poller of the panel, and its subscribers.

Polls the runs in a worker thread while at least one browser listens (the runners sample on their own, whoever
looks) and gives every subscriber a snapshot first, then only what changed. A subscriber has a bounded queue:
one that does not keep up is dropped, and its browser reconnects to a new snapshot. Knows nothing of
WebSockets; `live` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict

from ...engine.errors import PdpanelError
from .port import HostTraffic, RunView, Source
from .trace import Trace

__all__ = ["Hub", "Subscriber"]

_LOG = logging.getLogger(__name__)
_QUEUE_LIMIT = 64

Packet = Mapping[str, object]


class Subscriber:
    """One browser's end of the hub.

    Attributes:
        selected: the run whose samples it gets; None takes none.
        dropped: set once its queue overflowed; its socket must close.
    """

    def __init__(self, limit: int = _QUEUE_LIMIT) -> None:
        self.selected: str | None = None
        self.dropped = asyncio.Event()
        self.has_history = False
        self.has_host = False
        self._queue: asyncio.Queue[Packet] = asyncio.Queue(limit)

    def put(self, packet: Packet) -> None:
        """Queues `packet`, or drops this subscriber when its queue is full."""
        try:
            self._queue.put_nowait(packet)
        except asyncio.QueueFull:
            self.dropped.set()

    async def get(self) -> Packet:
        """Returns the next packet."""
        return await self._queue.get()

    def select(self, run_id: str | None) -> None:
        """Chooses the run whose samples follow, beginning with what is held of it."""
        self.selected = run_id
        self.has_history = False


class Hub:
    """Polls a `Source` and tells the subscribers."""

    def __init__(self, source: Source, interval_s: float = 0.5, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._interval_s = interval_s
        self._clock = clock
        self._subscribers: set[Subscriber] = set()
        self._runs: dict[str, dict[str, object]] = {}
        self._traces: dict[str, Trace] = {}
        self._traffic: HostTraffic | None = None
        self._wake = asyncio.Event()

    @contextlib.asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscriber]:
        """Adds a subscriber for the length of the block; its first packet is a snapshot of the runs."""
        if not self._subscribers:
            views = await asyncio.to_thread(self._source.runs)
            self._runs = {view.id: asdict(view) for view in views}
        subscriber = Subscriber()
        subscriber.put({"type": "snapshot", "at": self._clock(), "runs": list(self._runs.values())})
        self._subscribers.add(subscriber)
        self.wake()
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    def wake(self) -> None:
        """Makes the next poll happen now, after an action or a new subscriber."""
        self._wake.set()

    async def run(self) -> None:
        """Polls until cancelled; idle while nobody listens."""
        while True:
            if self._subscribers:
                try:
                    await self._poll()
                except PdpanelError as error:
                    self._tell({"type": "trouble", "at": self._clock(), "reason": str(error)})
                except Exception as error:
                    # One bad answer must not end the poller, on which every page depends.
                    _LOG.exception("the runs could not be read")
                    reason = f"The runs cannot be read: {type(error).__name__}; see the panel's output."
                    self._tell({"type": "trouble", "at": self._clock(), "reason": reason})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._interval_s if self._subscribers else None)
            self._wake.clear()

    async def _poll(self) -> None:
        views = await asyncio.to_thread(self._source.runs)
        self._tell(self._changes(views))
        self._tell_traffic(await asyncio.to_thread(self._source.host_traffic))
        wanted = {one.selected for one in self._subscribers if one.selected in self._runs}
        self._traces = {run_id: trace for run_id, trace in self._traces.items() if run_id in wanted}
        for run_id in wanted:
            if run_id is not None:
                await self._sample(run_id)

    async def _sample(self, run_id: str) -> None:
        trace = self._traces.setdefault(run_id, Trace(run_id))
        while True:
            batch = await asyncio.to_thread(self._source.samples, run_id, trace.last_seq)
            fresh = bool(batch.rows) and batch.last_seq > trace.last_seq
            if fresh:
                trace.extend(batch)
                for one in self._subscribers:
                    if one.selected == run_id and one.has_history:
                        one.put(trace.delta(batch))
            # A batch is bounded, so a long history takes several; the newest end with a small one.
            if not fresh or len(batch.rows) < 100:
                break
        for one in self._subscribers:
            if one.selected == run_id and not one.has_history:
                one.has_history = True
                one.put(trace.history())

    def _changes(self, views: Sequence[RunView]) -> Packet:
        runs = {view.id: asdict(view) for view in views}
        changed = [run for run_id, run in runs.items() if self._runs.get(run_id) != run]
        gone = [run_id for run_id in self._runs if run_id not in runs]
        self._runs = runs
        # Sent even when nothing changed: the browser takes it as a sign of life.
        return {"type": "runs", "at": self._clock(), "runs": changed, "gone": gone}

    def _tell_traffic(self, traffic: HostTraffic | None) -> None:
        """Sends the host's links: all of them to a new subscriber, then those that changed."""
        if traffic is None:
            return
        before = self._traffic or HostTraffic(0.0, 0.0, {})
        self._traffic = traffic
        changed = {key: asdict(link) for key, link in traffic.links.items() if before.links.get(key) != link}
        gone = [key for key in before.links if key not in traffic.links]
        # A new time alone is news, too: it tells that the numbers still hold.
        is_news = bool(changed or gone) or before.at != traffic.at
        head = {"type": "host", "at": traffic.at, "rate_hz": traffic.rate_hz}
        for one in self._subscribers:
            if one.has_host:
                if is_news:
                    one.put({**head, "links": changed, "gone": gone, "whole": False})
                continue
            one.has_host = True
            links = {key: asdict(link) for key, link in traffic.links.items()}
            one.put({**head, "links": links, "gone": [], "whole": True})

    def _tell(self, packet: Packet) -> None:
        for subscriber in self._subscribers:
            subscriber.put(packet)
