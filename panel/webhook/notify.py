"""Sends events to a webhook without ever holding up the supervision of a run.

`tell` only queues; one task sends in order, tries again with growing waits, follows no redirect, and gives up. A full
queue drops its oldest event. Called by the runner through `watching`; the journal names the host of the URL alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from ..runner.journal import Journal
from ..runner.state import RunRecord
from .event import Event, Witness
from .target import Target, stored_target

__all__ = ["Notifier", "watching"]

_QUEUED = 64
_WAITS_S = (1.0, 5.0, 30.0, 120.0)
_TIMEOUT_S = 10.0
_LAST_WORD_S = 5.0
_LOOK_S = 0.5


class Notifier:
    """Sends to one target.

    Args:
        target: where to.
        journal: where it is noted what was sent and what not.
        waits_s: how long it waits before each further try.
    """

    def __init__(self, target: Target, journal: Journal, waits_s: Sequence[float] = _WAITS_S) -> None:
        self._target = target
        self._journal = journal
        self._waits = tuple(waits_s)
        self._queue: deque[Event] = deque()
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def tell(self, event: Event) -> None:
        """Queues an event; returns at once."""
        if len(self._queue) >= _QUEUED:
            dropped = self._queue.popleft()
            self._say("dropped", dropped, "too many events wait")
        self._queue.append(event)
        self._idle.clear()
        self._more.set()

    async def run(self) -> None:
        """Sends what is queued until it is cancelled."""
        # Here, not above: a runner without a webhook does without.
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                await self._more.wait()
                while self._queue:
                    await self._send(session, self._queue.popleft())
                self._more.clear()
                self._idle.set()

    async def drain(self, limit_s: float) -> None:
        """Waits until all is sent or given up, for `limit_s` at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), limit_s)

    async def _send(self, session: object, event: Event) -> None:
        import aiohttp

        assert isinstance(session, aiohttp.ClientSession)
        problem = ""
        for wait in (0.0, *self._waits):
            await asyncio.sleep(wait)
            try:
                async with session.post(self._target.url, json=event.body(), allow_redirects=False) as answer:
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                # The error's text may hold the URL.
                problem = type(error).__name__
                continue
            if 200 <= status < 300:
                self._say("sent", event, "")
                return
            problem = f"status {status}"
            # A redirect or a refusal will be the same the next time.
            if status < 500 and status not in (408, 425, 429):
                break
        self._say("failed", event, problem)

    def _say(self, outcome: str, event: Event, problem: str) -> None:
        told = {"outcome": outcome, "about": event.event, "process": event.process, "problem": problem}
        self._journal.say("webhook", to=self._target.shown, **told)


async def _look_on(record: Callable[[], RunRecord], witness: Witness, notifier: Notifier) -> None:
    while True:
        await asyncio.sleep(_LOOK_S)
        for event in witness.look(record(), time.time()):
            notifier.tell(event)


@contextlib.asynccontextmanager
async def watching(
    path: Path, record: Callable[[], RunRecord], journal: Journal, waits_s: Sequence[float] = _WAITS_S
) -> AsyncIterator[None]:
    """Tells the webhook that is stored at `path`, if one is, what happens to a run for the length of the block.

    Args:
        path: the file in the run's directory.
        record: returns the run as it is now.
        journal: the runner's.
        waits_s: see `Notifier`.
    """
    target = stored_target(path)
    if target is None:
        yield
        return
    notifier, witness = Notifier(target, journal, waits_s), Witness(record())
    tasks = [asyncio.create_task(notifier.run()), asyncio.create_task(_look_on(record, witness, notifier))]
    try:
        yield
    finally:
        for event in witness.look(record(), time.time()):
            notifier.tell(event)
        await notifier.drain(_LAST_WORD_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
