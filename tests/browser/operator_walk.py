"""What an operator does with a run in the page, step by step: used over small fake workers and over real ones.

Each step says what the page must show after it; `Walk` knows the page, the run and what lies on disk of it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import zipfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

__all__ = ["Walk"]


class Walk:
    """One run in one page.

    Args:
        page: the open page.
        state_dir: the panel's state directory.
        wait_ms: the longest that any step may take.
    """

    def __init__(self, page: Page, state_dir: Path, wait_ms: int) -> None:
        self.page = page
        self._state_dir = state_dir
        self._wait_ms = wait_ms
        self.run_id = ""

    @property
    def card(self) -> Locator:
        """The run's card."""
        return self.page.locator(f'article[data-run="{self.run_id}"]')

    def row(self, name: str) -> Locator:
        """The row of a process."""
        return self.card.locator(f'tr[data-process="{name}"]')

    def record(self) -> dict[str, Any]:
        """What lies on disk of the run."""
        return json.loads((self._state_dir / "runs" / self.run_id / "state.json").read_bytes())

    def pids(self) -> dict[str, int]:
        """The processes' ids as the page shows them."""
        rows = self.card.locator("tr[data-process]").all()
        return {
            str(row.get_attribute("data-process")): int(row.locator('[data-label="PID"]').inner_text()) for row in rows
        }

    def until(self, *states: str) -> None:
        """Waits until the card says one of `states`."""
        expect(self.card).to_have_attribute("data-state", re.compile(f"^({'|'.join(states)})$"), timeout=self._wait_ms)

    def ready(self) -> None:
        """Waits until the run and all of its processes are ready."""
        self.until("ready")
        for name in ("prefill-0", "decode-0", "router"):
            expect(self.row(name)).to_have_attribute("data-state", "ready", timeout=self._wait_ms)

    def deploy(self) -> None:
        """Presses Deploy."""
        before = self.page.evaluate("() => window.pdpanel.selected")
        self.page.locator("#deploy-button").click()
        changed = "(before) => window.pdpanel.selected !== before"
        self.page.wait_for_function(changed, arg=before, timeout=self._wait_ms)
        self.run_id = self.page.evaluate("() => window.pdpanel.selected")
        self.ready()

    def crash_of_decode(self) -> None:
        """The row says how it ended while it waits, and after it has come back."""
        before = self.pids()
        os.kill(before["decode-0"], signal.SIGKILL)
        row = self.row("decode-0")
        expect(row).to_have_attribute("data-state", re.compile("restarting|starting|crashed"), timeout=self._wait_ms)
        expect(row).to_contain_text("SIGKILL", timeout=self._wait_ms)
        self.ready()
        expect(row).to_contain_text("restarted once; last: ended by SIGKILL")
        after = self.pids()
        assert after["decode-0"] != before["decode-0"]
        assert {name: pid for name, pid in after.items() if name != "decode-0"} == {
            name: pid for name, pid in before.items() if name != "decode-0"
        }

    def death_of_the_runner(self) -> None:
        """The card says so, and the panel takes the run over by itself; no process notices."""
        before, runner = self.pids(), self.record()["runner_pid"]
        os.kill(runner, signal.SIGKILL)
        self.until("unsupervised")
        expect(self.card.get_by_test_id("run-notice")).to_contain_text("the panel gives it a new one within seconds")
        self.ready()
        expect(self.page.get_by_test_id("toast").filter(has_text="has a new runner")).to_be_visible()
        expect(self.card).to_contain_text("runner replaced")
        assert self.pids() == before
        assert self.record()["runner_pid"] != runner

    def restart_run(self) -> None:
        """All processes are others afterwards."""
        before = self.pids()
        self.card.get_by_test_id("restart-run").click()
        self.page.get_by_test_id("confirm").get_by_role("button", name="Restart run").click()
        self.until("starting", "stopping")
        self.ready()
        after = self.pids()
        assert not set(after.values()) & set(before.values())

    def stop_all(self) -> None:
        """The card says that it has ended and what can be done with it now."""
        pids = self.pids().values()
        self.card.get_by_test_id("stop-all").click()
        self.page.get_by_test_id("confirm").get_by_role("button", name="Stop all").click()
        self.until("stopped")
        expect(self.card.get_by_test_id("stop-all")).to_be_hidden()
        expect(self.card.get_by_test_id("restart-run")).to_be_hidden()
        expect(self.row("decode-0").get_by_role("button", name="Restart decode-0")).to_be_disabled()
        expect(self.card.locator(".pd-outcome").last).to_have_text("", timeout=self._wait_ms)
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def resume(self) -> None:
        """The same run goes on in its directory."""
        self.card.get_by_test_id("resume-run").click()
        self.ready()
        expect(self.card.get_by_test_id("resume-run")).to_be_hidden()
        expect(self.card.locator(".pd-facts").first).to_contain_text("resumed ")

    def find_in_history(self) -> None:
        """Earlier runs has a row for it."""
        history = self.page.get_by_test_id("history")
        expect(history).to_be_visible(timeout=self._wait_ms)
        if history.get_attribute("open") is None:
            history.locator("summary").first.click()
        expect(history.locator(f'tr[data-earlier="{self.run_id}"]')).to_contain_text("Stopped", timeout=self._wait_ms)

    def clone(self) -> None:
        """Opens its deployment in Plan and starts nothing."""
        runs = self.page.evaluate("() => window.pdpanel.runs.length")
        self.card.get_by_test_id("clone-run").click()
        expect(self.page.get_by_role("tab", name="Plan")).to_have_attribute("aria-selected", "true")
        expect(self.page.get_by_test_id("plan-yaml")).to_have_value(re.compile(r"prefill:[\s\S]*decode:"))
        assert self.page.evaluate("() => window.pdpanel.runs.length") == runs

    def export(self) -> None:
        """Gives its scripts as files."""
        self.page.get_by_role("tab", name="Export").click()
        expect(self.page.get_by_test_id("export-zip")).to_be_enabled(timeout=self._wait_ms)
        expect(self.page.get_by_test_id("export-files").get_by_role("button").first).to_be_visible()
        with self.page.expect_download() as download:
            self.page.get_by_test_id("export-zip").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            text = b"".join(archive.read(name) for name in archive.namelist())
        assert b"prefill" in text and b"decode" in text
