"""A notebook in JupyterLab's page: runs a cell as a person does, and reads what it shows."""

from __future__ import annotations

import contextlib
import re

from playwright.sync_api import Locator, Page, expect

WAIT_MS = 60_000


class LabPage:
    """The notebook that `page` has open."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._cells = page.locator(".jp-Notebook .jp-CodeCell")
        expect(self._cells.first).to_be_visible(timeout=WAIT_MS)
        expect(page.get_by_text(re.compile(r"Python 3.*\| Idle"))).to_be_visible(timeout=WAIT_MS)

    def cell(self, index: int) -> Locator:
        """Returns one cell."""
        return self._cells.nth(index)

    def run(self, index: int) -> str:
        """Runs a cell with the keyboard, waits for its end, and returns the text of its output."""
        cell = self.cell(index)
        prompt = cell.locator(".jp-InputPrompt")
        for _ in range(10):
            # While the page still settles, a key may reach nobody.
            cell.locator(".cm-content").click()
            self._page.keyboard.press("Control+Enter")
            with contextlib.suppress(AssertionError):
                expect(prompt).not_to_have_text("[ ]:", timeout=3000)
                break
        expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=WAIT_MS)
        return cell.locator(".jp-OutputArea").inner_text()
