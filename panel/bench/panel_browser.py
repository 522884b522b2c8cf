"""Real Chromium for the benchmark of the panel, where Playwright is installed. Blocking."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil

from .panel_source import STEP_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["Tabs", "browsing"]

_TIMEOUT_MS = 60_000
_FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
_LIVE = "() => window.pdpanel?.connection === 'live' && document.querySelector('[role=tab]') !== null"
# Notes when the number of the KV changed and the picture with it was handed to the screen.
_WATCH = """() => {
  const node = document.querySelector('[data-testid="now-kv"]');
  window.shown = [];
  new MutationObserver(() => {
    requestAnimationFrame(() => requestAnimationFrame(() => window.shown.push(Date.now() / 1000)));
  }).observe(node, { childList: true, characterData: true, subtree: true });
}"""


class Tabs:
    """Tabs of one Chromium."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._context = browser.new_context(viewport={"width": 1440, "height": 900})
        self._context.set_default_timeout(_TIMEOUT_MS)
        self._browser = browser
        self._url = url
        self.pages: list[Page] = []

    def open(self, run: str) -> None:
        """Opens one more tab, with Observe on `run`."""
        page = self._context.new_page()
        page.goto(self._url)
        page.wait_for_function(_LIVE)
        page.get_by_role("tab", name="Observe").click()
        self.pages.append(page)
        self.select(run)

    def select(self, run: str) -> None:
        """Shows `run` in all tabs."""
        for page in self.pages:
            page.evaluate("run => window.pdpanel.select(run)", run)
            page.wait_for_function("run => window.pdpanel.selected === run", arg=run)

    def unfold(self) -> None:
        """Opens all sections of Observe."""
        for page in self.pages:
            for summary in page.locator("details.pd-section:not([open]) > summary").element_handles():
                summary.click()

    def wish(self) -> Any:
        """Returns what the first tab has asked the panel for."""
        return self.pages[0].evaluate("async () => JSON.parse((await import('/static-pdpanel/store.js')).store.told)")

    def first_page_s(self) -> float:
        """Returns the seconds from an address to a page that is live, in a browser profile of its own."""
        context = self._browser.new_context(viewport={"width": 1440, "height": 900})
        context.set_default_timeout(_TIMEOUT_MS)
        try:
            page = context.new_page()
            began = time.monotonic()
            page.goto(self._url, wait_until="commit")
            page.wait_for_function(_LIVE)
            return time.monotonic() - began
        finally:
            context.close()

    def pixel_s(self, steps: int) -> list[float]:
        """Returns the seconds from each of several changes of a counter to the picture that shows it."""
        page = self.pages[0]
        page.bring_to_front()
        page.evaluate(_WATCH)
        page.wait_for_function("count => window.shown.length >= count", arg=steps + 1)
        shown = [float(moment) for moment in page.evaluate("() => window.shown")]
        # The first change may have been under way before anybody watched.
        return [moment % STEP_S for moment in shown[1:]]


def pids() -> list[int]:
    """Returns the processes of Chromium below this one."""
    return [child.pid for child in psutil.Process().children(recursive=True) if "chrom" in child.name()]


@contextmanager
def browsing(url: str) -> Iterator[Tabs | None]:
    """Yields tabs of a Chromium, or None where Playwright or Chromium is missing."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        yield None
        return
    with sync_playwright() as playwright:
        try:
            path = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        except Error:
            yield None
            return
        try:
            yield Tabs(browser, url)
        finally:
            browser.close()
