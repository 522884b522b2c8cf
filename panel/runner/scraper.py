"""Asks one process for its /metrics again and again, never twice at once, and remembers what went wrong.

A page that cannot be read costs its own values alone; one that cannot be read for long is asked for seldom. Called by
the sampler; what a page means is the business of `panel.telemetry`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from ...nic_probe.finding import Finding
from ..telemetry.findings import metrics_unreadable
from ..telemetry.recognise import MetricsReader, Reading
from .http import Answer, KeptConnection
from .rows import Scraped

__all__ = ["Scraper"]

_TIMEOUT_S: Final = 2.0
# How many failures in a row are worth words, and from how many on only every tenth beat asks.
_WORTH_WORDS: Final = 4
_SELDOM_AFTER: Final = 20
_SELDOM: Final = 10
# A page as long as no engine has would hold up the beat while it is read.
_LONG_BYTES: Final = 512 << 10


class Scraper:
    """The /metrics of one process.

    Args:
        name: the process.
        url: of its page.
        headers: sent with each question.
    """

    def __init__(self, name: str, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._url = url
        self._connection = KeptConnection(url, headers)
        self._reader = MetricsReader()
        self._task: asyncio.Task[Scraped | None] | None = None
        self._problem = ""
        self._failures = 0
        self._beats = 0

    @property
    def finding(self) -> Finding | None:
        """What keeps its page from being read, if that lasts."""
        return metrics_unreadable(self.name, self._url, self._problem) if self._failures >= _WORTH_WORDS else None

    def begin(self) -> asyncio.Task[Scraped | None] | None:
        """Returns the question that is under way, after asking a new one if it is time; None when it is not."""
        if self._task is None:
            self._beats += 1
            if self._failures >= _SELDOM_AFTER and self._beats % _SELDOM:
                return None
            self._task = asyncio.create_task(self._ask())
        return self._task

    def take(self) -> Scraped | None:
        """Returns the answer of the question that has ended, once."""
        if self._task is None or not self._task.done():
            return None
        task, self._task = self._task, None
        return None if task.cancelled() else task.result()

    def close(self) -> None:
        """Gives up the question under way and the connection."""
        if self._task is not None:
            self._task.cancel()
        self._connection.close()

    async def _ask(self) -> Scraped | None:
        answer = await self._connection.get(_TIMEOUT_S)
        at = time.monotonic()
        if isinstance(answer, Answer):
            if answer.status == 200:
                reading = await self._read(answer.body)
                if not reading.problem:
                    self._failures, self._problem = 0, ""
                    return Scraped(at, reading)
                answer = reading.problem
            else:
                answer = f"answers with status {answer.status}"
        self._failures += 1
        self._problem = answer
        return None

    async def _read(self, body: bytes) -> Reading:
        if len(body) > _LONG_BYTES:
            return await asyncio.to_thread(self._reader.read, body)
        return self._reader.read(body)
