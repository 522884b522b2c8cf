"""The one poller of the panel, and its subscribers.

Polls the runs in a worker thread while at least one browser listens (the runners sample on their own, whoever
looks) and gives every subscriber a snapshot first, then only what changed: one message a poll, whose parts are made
once for all who want the same. A subscriber has a bounded queue: one that does not keep up is dropped, and its browser
reconnects to a new snapshot. Knows nothing of WebSockets; `live` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from ...engine.errors import PdpanelError
from .cut import Cut
from .differences import link_changes, plain_run, run_changes
from .port import HostTraffic, RunView, Source
from .subscriber import Subscriber, Wish
from .trace import Trace

__all__ = ["Hub"]

_LOG = logging.getLogger(__name__)
# Many browsers that come back at once are served by one poll.
_GATHER_S = 0.02
# A batch is bounded, so a long history takes several; the newest ends with a small one.
_SMALL_BATCH = 100

Parts = dict[Subscriber, list[str]]


def _encode(packet: Mapping[str, Any]) -> str:
    return msgspec.json.encode(packet).decode()


class Hub:
    """Polls a `Source` and tells the subscribers."""

    def __init__(self, source: Source, interval_s: float = 0.5, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._interval_s = interval_s
        self._clock = clock
        self._subscribers: set[Subscriber] = set()
        self._runs: dict[str, dict[str, Any]] = {}
        self._views: dict[str, RunView] = {}
        self._traces: dict[str, Trace] = {}
        self._cuts: dict[tuple[str, frozenset[str] | None], Cut] = {}
        self._links: dict[str, list[Any]] = {}
        self._host_at: float | None = None
        self._wake = asyncio.Event()

    @contextlib.asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscriber]:
        """Adds a subscriber for the length of the block; its first message is a snapshot of the runs."""
        if not self._subscribers:
            views = await asyncio.to_thread(self._source.runs)
            self._runs = self._plain(views)
        subscriber = Subscriber()
        runs = list(self._runs.values())
        snapshot = {"type": "snapshot", "at": self._clock(), "runs": runs, "simulated": self._source.simulated}
        subscriber.put(f"[{_encode(snapshot)}]")
        self._subscribers.add(subscriber)
        self.wake()
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    @property
    def listening(self) -> int:
        """How many pages listen."""
        return len(self._subscribers)

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
                    self._tell_trouble(str(error))
                except Exception as error:
                    # One bad answer must not end the poller, on which every page depends.
                    _LOG.exception("the runs could not be read")
                    self._tell_trouble(f"The runs cannot be read: {type(error).__name__}; see the panel's output.")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._interval_s if self._subscribers else None)
            await asyncio.sleep(min(_GATHER_S, self._interval_s))
            self._wake.clear()

    async def _poll(self) -> None:
        views = await asyncio.to_thread(self._source.runs)
        told = tuple(self._subscribers)
        runs = self._plain(views)
        changes = run_changes(self._runs, runs)
        self._runs = runs
        # Sent even when nothing changed: the browser takes it as a sign of life.
        head = _encode({"type": "runs", "at": self._clock(), **changes})
        parts: Parts = {one: [head] for one in told}
        traffic = await asyncio.to_thread(self._source.host_traffic)
        if traffic is not None:
            self._add_traffic(parts, traffic)
        trouble: Exception | None = None
        try:
            await self._add_samples(parts)
        except Exception as error:
            trouble = error
            # Some may have missed what others were told: all begin anew.
            for one in parts:
                one.has_history = False
        # Whoever left in between has a queue that nobody reads, and that goes with it.
        for one, texts in parts.items():
            one.put(f"[{','.join(texts)}]")
        if trouble is not None:
            raise trouble

    def _plain(self, views: Sequence[RunView]) -> dict[str, dict[str, Any]]:
        """Returns the runs as plain values; one whose view is the same object as before has the same ones."""
        before, self._views = self._views, {view.id: view for view in views}
        known = self._runs
        return {
            one.id: known[one.id] if before.get(one.id) is one and one.id in known else plain_run(one) for one in views
        }

    async def _add_samples(self, parts: Parts) -> None:
        wanted: dict[str, dict[Wish, list[Subscriber]]] = {}
        for one in parts:
            if one.wish.run in self._runs:
                wanted.setdefault(str(one.wish.run), {}).setdefault(one.wish, []).append(one)
        self._traces = {run_id: trace for run_id, trace in self._traces.items() if run_id in wanted}
        keys = {(run_id, wish.groups) for run_id, wishes in wanted.items() for wish in wishes}
        self._cuts = {key: cut for key, cut in self._cuts.items() if key in keys}
        for run_id, wishes in wanted.items():
            trace = self._traces.setdefault(run_id, Trace(run_id))
            await self._fill(trace)
            for groups in {wish.groups for wish in wishes}:
                cut = self._cuts.setdefault((run_id, groups), Cut(trace, groups))
                news = cut.news()
                for wish, ones in wishes.items():
                    if wish.groups == groups:
                        await self._add_cut(parts, cut, news, wish, ones)

    async def _add_cut(self, parts: Parts, cut: Cut, news: str | None, wish: Wish, ones: list[Subscriber]) -> None:
        whole: str | None = None
        for one in ones:
            if one.has_history and news is not None:
                if news:
                    parts[one].append(news)
                continue
            if whole is None:
                whole = await asyncio.to_thread(cut.whole, wish.window_s)
            # It may have chosen something else meanwhile, which the next poll answers.
            if one.wish == wish:
                one.has_history = True
                parts[one].append(whole)

    async def _fill(self, trace: Trace) -> None:
        while True:
            batch = await asyncio.to_thread(self._source.samples, trace.run_id, trace.last_seq)
            fresh = bool(batch.rows) and batch.last_seq > trace.last_seq
            if fresh:
                trace.extend(batch)
            if not fresh or len(batch.rows) < _SMALL_BATCH:
                return

    def _add_traffic(self, parts: Parts, traffic: HostTraffic) -> None:
        """Adds the host's links: all of them for a new subscriber, for others those that changed."""
        links, changed, gone = link_changes(self._links, traffic)
        # A new time alone is news, too: it tells that the numbers still hold.
        is_news = bool(changed or gone) or self._host_at != traffic.at
        self._links, self._host_at = links, traffic.at
        head = {"type": "host", "at": traffic.at, "rate_hz": round(traffic.rate_hz, 1)}
        news = _encode({**head, "links": changed, "gone": gone, "whole": False})
        whole = ""
        for one, texts in parts.items():
            if one.has_host:
                if is_news:
                    texts.append(news)
                continue
            one.has_host = True
            whole = whole or _encode({**head, "links": links, "gone": [], "whole": True})
            texts.append(whole)

    def _tell_trouble(self, reason: str) -> None:
        text = _encode({"type": "trouble", "at": self._clock(), "reason": reason})
        for one in self._subscribers:
            one.put(f"[{text}]")
