"""Fills each view of the panel with data, as a person would, for tests and pictures of how they look."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

__all__ = ["TABS", "fill", "show"]

TABS = {
    "Deploy": "deploy",
    "Try it": "tryit",
    "Observe": "observe",
    "Benchmark": "bench",
    "Logs": "logs",
    "Hardware": "hardware",
    "Plan": "plan",
    "Export": "export",
}
_WAIT_MS = 20_000


def fill(page: Page, panel: Any, run_id: str) -> str:
    """Lets one more run crash, ends another, and chooses `run_id`; returns the crashed run."""
    form = {"mode": "pd", "model": "a-crash-model", "prefill": 1, "decode": 2, "transport": "tcp"}
    crashed = panel.ask("POST", "/api/runs", form)["run"]
    ended = panel.ask("POST", "/api/runs", {**form, "model": "ended", "decode": 1})["run"]
    panel.ask("POST", f"/api/runs/{ended}/stop")
    page.get_by_test_id("run-picker").select_option(run_id)
    row = page.locator(f'.pd-card[data-run="{crashed}"] tr[data-process="decode-0"]')
    expect(row).to_have_attribute("data-state", "crashed", timeout=_WAIT_MS)
    row.get_by_test_id("crash").locator("summary").first.click()
    order = page.locator(f'.pd-card[data-run="{crashed}"]').get_by_test_id("start-order").locator("summary")
    expect(order).to_contain_text("Start order", timeout=_WAIT_MS)
    order.click()
    history = page.get_by_test_id("history")
    expect(history).to_be_visible()
    if not history.evaluate("node => node.open"):
        history.locator("summary").first.click()
    return crashed


def show(page: Page, tab: str) -> None:
    """Opens a tab and waits until it shows what it is for."""
    page.get_by_role("tab", name=tab).click()
    if tab == "Deploy":
        workers = page.get_by_label("Decode workers")
        workers.fill("12")
        workers.blur()
        expect(page.get_by_test_id("check")).to_contain_text("share")
        workers.fill("1")
        workers.blur()
    if tab == "Try it":
        page.get_by_label("Max tokens").fill("20")
        expect(page.get_by_test_id("try-send")).to_be_enabled(timeout=_WAIT_MS)
        page.get_by_test_id("try-send").click()
        expect(page.get_by_test_id("try-output")).to_have_attribute("data-state", "done", timeout=_WAIT_MS)
    if tab == "Observe":
        chart = page.locator("[data-chart] canvas").first
        expect(chart).to_be_visible()
        chart.scroll_into_view_if_needed()  # one that nobody sees is not drawn
        # Charts are drawn every other second: one of this moment knows the NICs' line rate.
        expect(page.locator(".pd-share").first).to_contain_text("of 2 x 400 Gb/s", timeout=_WAIT_MS)
    if tab == "Logs":
        expect(page.get_by_test_id("log")).to_contain_text("request")
    if tab == "Hardware":
        expect(page.get_by_test_id("hardware")).to_contain_text("Processor")
    if tab == "Plan":
        expect(page.get_by_test_id("plan-commands")).to_contain_text("--disaggregation-mode")
    if tab == "Export":
        expect(page.get_by_test_id("export-files").locator("button").first).to_be_visible()
