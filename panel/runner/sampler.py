"""Looks at the run's processes and at the host twice a second, whether or not anybody watches.

The shell around `runner.rows`: asks the /metrics of ready processes, reads /proc of every process group, takes what the
followed sources said, hands all to the translator and the row to the store. Nothing that is slow or broken holds up the
beat: it makes a gap. Decides nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ...nic_probe.finding import Finding
from ..launch import LaunchPlan
from .following import Following, TelemetrySource
from .procfs import Stat, all_stats, read_stat
from .rows import HostUse, Scraped, Translator
from .scraper import Scraper
from .series import metrics_url

__all__ = ["RowStore", "Sampler", "Watched"]

_PERIOD_S: Final = 0.5
# How long a row waits for the pages of its beat; a later answer belongs to the next row.
_PATIENCE_S: Final = 0.25
_ROWS_PER_FLUSH: Final = 10
_ROWS_PER_SEARCH: Final = 6


@dataclass(frozen=True, slots=True)
class Watched:
    """A process to look at: its leader's pid, 0 where it is not known, and whether its /metrics can be asked."""

    name: str
    pid: int
    ready: bool


class RowStore(Protocol):
    """Where rows go."""

    def add(self, t: float, values: dict[str, float]) -> None:
        """Appends a row taken at unix time `t`."""
        ...

    def flush(self) -> None:
        """Writes the new rows."""
        ...


class Sampler:
    """Samples the processes that `watched` returns into `store`.

    Args:
        plan: of the run.
        store: takes the rows.
        watched: returns the processes that can be looked at now.
        sources: what else is sampled; each is read in a thread of its own.
        headers: what a question for a URL carries, such as a key.

    Attributes:
        latest: the values of the last row.
    """

    def __init__(
        self,
        plan: LaunchPlan,
        store: RowStore,
        watched: Callable[[], list[Watched]],
        sources: Sequence[TelemetrySource] = (),
        headers: Callable[[str], Mapping[str, str]] = lambda url: {},
    ) -> None:
        self._headers = headers
        urls = {spec.name: metrics_url(spec, plan) for spec in plan.processes}
        self._scrapers = {name: Scraper(name, url, headers(url)) for name, url in urls.items() if url}
        self._translator = Translator(plan)
        self._store = store
        self._watched = watched
        self._following = Following(sources)
        self._groups: dict[int, list[int]] = {}
        self._search_in = 0
        self.latest: Mapping[str, float] = {}

    def replan(self, plan: LaunchPlan, sources: Sequence[TelemetrySource]) -> None:
        """Takes a changed plan of the run, and what is sampled beside its processes from now on."""
        urls = {spec.name: url for spec in plan.processes if (url := metrics_url(spec, plan))}
        for name in self._scrapers.keys() - urls.keys():
            self._scrapers.pop(name).close()
        for name in urls.keys() - self._scrapers.keys():
            self._scrapers[name] = Scraper(name, urls[name], self._headers(urls[name]))
        self._translator.replan(plan)
        self._following.close()
        self._following = Following(sources)
        self._following.start()

    def findings(self) -> Mapping[str, Finding]:
        """Returns by process what keeps its metrics from being read."""
        return {name: found for name, scraper in self._scrapers.items() if (found := scraper.finding) is not None}

    async def run(self) -> None:
        """Samples until cancelled; a slow worker loses values, not the beat."""
        self._following.start()
        rows = 0
        due = time.monotonic()
        try:
            while True:
                await self._sample()
                rows += 1
                if rows % _ROWS_PER_FLUSH == 0:
                    self._store.flush()
                due = max(due + _PERIOD_S, time.monotonic() - _PERIOD_S)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            self._following.close()
            for scraper in self._scrapers.values():
                scraper.close()

    async def _sample(self) -> None:
        watched = self._watched()
        asked = [self._scrapers[item.name] for item in watched if item.ready and item.name in self._scrapers]
        tasks = [task for scraper in asked if (task := scraper.begin()) is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_PATIENCE_S)
        taken = ((scraper.name, scraper.take()) for scraper in asked)
        pages: dict[str, Scraped] = {name: page for name, page in taken if page is not None}
        now = time.monotonic()
        values = self._translator.row(now, pages, self._host_use(watched)) | self._following.values(now)
        self.latest = values
        self._store.add(time.time(), values)

    def _host_use(self, watched: list[Watched]) -> dict[str, HostUse]:
        # Searching all of /proc is the expensive part, so groups are looked up every few rows only.
        leaders = {item.pid for item in watched if item.pid}
        if not leaders:
            return {}
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
