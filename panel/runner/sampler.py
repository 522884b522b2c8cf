"""Looks at the run's processes twice a second, whether or not anybody watches.

The shell around `runner.series`: reads /metrics of ready workers and /proc of every process group, hands both
to the translator and the row to the store. Decides nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..launch import LaunchPlan
from .http import get
from .procfs import Stat, all_stats, read_stat
from .samples import SampleStore
from .rows import HostUse, Scraped, Translator

__all__ = ["Sampler", "Watched"]

_PERIOD_S = 0.5
_SCRAPE_TIMEOUT_S = 1.0
_ROWS_PER_FLUSH = 10
_ROWS_PER_SEARCH = 6


@dataclass(frozen=True, slots=True)
class Watched:
    """A process to look at: its leader's pid, and whether its /metrics can be asked."""

    name: str
    pid: int
    ready: bool


class Sampler:
    """Samples the processes that `watched` returns into `store`.

    Attributes:
        latest: the values of the last row.
    """

    def __init__(self, plan: LaunchPlan, store: SampleStore, watched: Callable[[], list[Watched]]) -> None:
        self._urls = {spec.name: spec.metrics_url for spec in plan.processes if spec.metrics_url}
        self._translator = Translator(plan)
        self._store = store
        self._watched = watched
        self._groups: dict[int, list[int]] = {}
        self._search_in = 0
        self.latest: Mapping[str, float] = {}

    async def run(self) -> None:
        """Samples until cancelled; a slow worker loses values, not the beat."""
        rows = 0
        due = time.monotonic()
        while True:
            await self._sample()
            rows += 1
            if rows % _ROWS_PER_FLUSH == 0:
                self._store.flush()
            due = max(due + _PERIOD_S, time.monotonic() - _PERIOD_S)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _sample(self) -> None:
        watched = self._watched()
        asked = [item.name for item in watched if item.ready and item.name in self._urls]
        answers = await asyncio.gather(*(self._scrape(name) for name in asked))
        metrics = {name: found for name, found in zip(asked, answers, strict=True) if found is not None}
        values = self._translator.row(time.monotonic(), metrics, self._host_use(watched))
        self.latest = values
        self._store.add(time.time(), values)

    async def _scrape(self, name: str) -> list[Measured] | None:
        answer = await get(self._urls[name], _SCRAPE_TIMEOUT_S)
        if answer is None or answer.status != 200:
            return None
        return list(parse_metrics(answer.body.decode("utf-8", errors="replace")))

    def _host_use(self, watched: list[Watched]) -> dict[str, HostUse]:
        # Searching all of /proc is the expensive part, so groups are looked up every few rows only.
        leaders = {item.pid for item in watched}
        if self._search_in <= 0 or not leaders <= self._groups.keys():
            self._groups = {pid: [] for pid in leaders}
            for stat in all_stats():
                if stat.session in leaders:
                    self._groups[stat.session].append(stat.pid)
            self._search_in = _ROWS_PER_SEARCH
        self._search_in -= 1
        use: dict[str, HostUse] = {}
        for item in watched:
            found = (read_stat(pid) for pid in self._groups.get(item.pid, ()))
            stats: list[Stat] = [stat for stat in found if stat is not None and stat.session == item.pid and stat.alive]
            if stats:
                use[item.name] = HostUse(sum(stat.cpu_s for stat in stats), sum(stat.rss_bytes for stat in stats))
        return use
