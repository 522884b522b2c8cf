"""What the panel costs while people keep it open: its server, its pages, and an idle runner, beside their goals.

The run is made up (`panel_source`), the server, Chromium and the runner are real. Called by `cli_bench`; blocking.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .figures import Figure, figure_of
from .panel_browser import Tabs, browsing, pids
from .panel_crowd import listening
from .panel_process import ServedPanel, cpu_percents, serving
from .panel_runner import idle_runner
from .panel_source import LOADED, QUIET

__all__ = ["PanelPlan", "measure_panel"]

Tell = Callable[[str], None]
# What a tab with Observe as it opens asks for, where no browser is there to say it.
_WISH = {
    "select": LOADED,
    "groups": ["kv", "latency", "mooncake", "nic", "queues", "requests", "tokens", "transfer", "transfer_size"],
    "window_s": 300,
}


@dataclass(frozen=True, slots=True)
class PanelPlan:
    """How much is measured.

    Attributes:
        tabs: open tabs.
        processes: of the made-up run.
        nics: of its host.
        seconds: of each stretch.
        rounds: stretches of each figure.
        chromium_tabs: how many of the tabs are real ones; the others are clients that ask for the same.
    """

    tabs: int = 20
    processes: int = 32
    nics: int = 16
    seconds: float = 10.0
    rounds: int = 3
    chromium_tabs: int = 20


def measure_panel(plan: PanelPlan, tell: Tell = lambda text: None) -> Iterator[Figure]:
    """Yields the figures as they are measured.

    Raises:
        PdpanelError: the panel or the runner does not come up.
    """
    with (
        tempfile.TemporaryDirectory(prefix="pdpanel-bench-") as name,
        serving(Path(name), plan.processes, plan.nics) as panel,
    ):
        yield from _idle(plan, panel, tell)
        panel.load(on=True)
        with browsing(panel.url) as tabs:
            if tabs is None:
                tell("Playwright or Chromium is not installed: clients stand for tabs, pages are not measured.")
            else:
                yield from _page(plan, tabs, tell)
            yield from _crowd(plan, panel, tabs, tell)
    with tempfile.TemporaryDirectory(prefix="pdpanel-bench-") as name:
        tell("an idle runner")
        with idle_runner(Path(name), 4) as pid:
            yield figure_of("a run of 4 idle processes", "CPU of the runner", "% of a core", _cpu(plan, [pid]), 1.0)


def _cpu(plan: PanelPlan, watched: list[int]) -> list[float]:
    return cpu_percents(watched, plan.seconds, plan.rounds)


def _idle(plan: PanelPlan, panel: ServedPanel, tell: Tell) -> Iterator[Figure]:
    tell("an idle panel")
    # What a start leaves to be done is over then.
    time.sleep(min(2.0, plan.seconds))
    yield figure_of("no browser", "CPU of the server", "% of a core", _cpu(plan, [panel.pid]), 3.0)
    with listening(panel.origin, panel.token, 1, None):
        yield figure_of("one tab, no run", "CPU of the server", "% of a core", _cpu(plan, [panel.pid]), 3.0)


def _page(plan: PanelPlan, tabs: Tabs, tell: Tell) -> Iterator[Figure]:
    tell("the first page")
    yield figure_of("a new browser profile", "first page", "s", [tabs.first_page_s() for _ in range(plan.rounds)], 3.0)
    tabs.open(LOADED)
    tell("from a counter's change to the screen")
    yield figure_of("one tab", "counter to pixel", "s", tabs.pixel_s(2 * plan.rounds), 1.5)
    tell("one tab with and without data")
    for case, prepare in (("one tab, Observe as it opens", None), ("one tab, all sections open", tabs.unfold)):
        if prepare is not None:
            prepare()
        more: list[float] = []
        for _ in range(plan.rounds):
            used = []
            for run in (LOADED, QUIET):
                tabs.select(run)
                time.sleep(min(1.0, plan.seconds))
                used += cpu_percents(pids(), plan.seconds, 1)
            more.append(used[0] - used[1])
        note = "all of Chromium, above the same page without samples"
        yield figure_of(case, "CPU of the tab", "% of a core", more, 3.0, note)
    tabs.select(LOADED)


def _crowd(plan: PanelPlan, panel: ServedPanel, tabs: Tabs | None, tell: Tell) -> Iterator[Figure]:
    real = 0
    wish: dict[str, object] = dict(_WISH)
    everything = {"select": LOADED, "window_s": 300}
    if tabs is not None:
        real = max(1, min(plan.tabs, plan.chromium_tabs))
        tell(f"{real} tabs in Chromium, {plan.tabs - real} clients")
        while len(tabs.pages) < real:
            tabs.open(LOADED)
    case = f"{plan.tabs} tabs, {plan.processes} processes, {plan.nics} NICs"
    with listening(panel.origin, panel.token, max(1, plan.tabs - real), wish) as crowd:
        time.sleep(min(2.0, plan.seconds))
        note = f"{real} of the tabs in Chromium"
        yield figure_of(case, "CPU of the server", "% of a core", _cpu(plan, [panel.pid]), 15.0, note)
        yield figure_of(case, "memory of the server", "MB", [panel.rss_mb()], 250.0, note)
        sent = [crowd.kilobytes_per_s(plan.seconds) for _ in range(plan.rounds)]
        note = "before compression on the wire"
        yield figure_of("Observe as it opens", "sent to a tab", "kB/s", sent, 10.0, note)
        yield figure_of(case, "tabs that were dropped", "", [float(crowd.lost)], 0.0)
    with listening(panel.origin, panel.token, 1, everything) as crowd:
        sent = [crowd.kilobytes_per_s(plan.seconds) for _ in range(plan.rounds)]
        yield figure_of("all series of the run", "sent to a tab", "kB/s", sent, 10.0, note)
