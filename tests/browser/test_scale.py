"""More and fewer workers of a run from its card: what would change is shown, and only then it happens."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

WAIT_MS = 20_000


@pytest.fixture
def page(shared_page: Page) -> Page:
    return shared_page


def card(page: Page, run_id: str) -> Locator:
    return page.locator(f'.pd-card[data-run="{run_id}"]')


def workers(panel: Any, run_id: str) -> list[str]:
    return sorted(process["name"] for process in panel.run(run_id)["processes"])


def test_a_worker_is_added_and_removed_after_the_difference_was_shown(page: Page, panel: Any) -> None:
    run_id = panel.deploy()
    shown = card(page, run_id)
    expect(shown.get_by_test_id("run-state")).to_have_text("Ready", timeout=WAIT_MS)
    numbers = shown.get_by_role("group", name="Number of workers")
    expect(numbers).to_contain_text("prefill")
    expect(numbers.get_by_role("button", name="Remove a decode worker")).to_be_disabled()
    more = numbers.get_by_role("button", name="Add a decode worker")
    more.click()
    dialog = page.get_by_test_id("scale-dialog")
    lines = dialog.get_by_test_id("scale-lines")
    expect(lines).to_contain_text("decode-1 is started")
    expect(lines).to_contain_text("--disaggregation-mode decode")
    expect(lines).to_contain_text("router goes on: It is told of the workers while it runs.")
    expect(dialog.get_by_test_id("scale-room")).to_contain_text("3 workers on 8 cores.")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert workers(panel, run_id) == ["decode-0", "prefill-0", "router"]
    more.click()
    dialog.get_by_role("button", name="Apply").click()
    expect(shown.locator('tr[data-process="decode-1"]')).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_test_id("toast").last).to_contain_text("has 2 decode workers.")
    expect(shown.get_by_test_id("run-state")).to_have_text("Ready", timeout=WAIT_MS)
    numbers.get_by_role("button", name="Remove a decode worker").click()
    expect(lines).to_contain_text("decode-1 ends")
    dialog.get_by_role("button", name="Apply").click()
    expect(shown.locator('tr[data-process="decode-1"]')).to_have_count(0, timeout=WAIT_MS)
    assert workers(panel, run_id) == ["decode-0", "prefill-0", "router"]
    page.evaluate("(id) => window.pdpanel.select(id)", run_id)
    page.get_by_role("tab", name="Logs").click()
    page.get_by_test_id("log-process").select_option(label="decode-1 (removed)")
    expect(page.get_by_test_id("log")).to_contain_text("request")
    page.get_by_role("tab", name="Deploy").click()
    # A run that has ended keeps its card while no other goes on.
    for other in panel.ask("GET", "/api/runs")["runs"]:
        if other["can_stop"] and other["id"] != run_id:
            panel.ask("POST", f"/api/runs/{other['id']}/stop")
    panel.ask("POST", f"/api/runs/{run_id}/stop")
    expect(shown.get_by_test_id("scale")).to_contain_text("Clone it to start it with other numbers")


def test_unified_workers_have_one_number(page: Page, panel: Any) -> None:
    run_id = panel.deploy(mode="unified")
    shown = card(page, run_id)
    expect(shown.get_by_test_id("run-state")).to_have_text("Ready", timeout=WAIT_MS)
    shown.get_by_role("button", name="Add a unified worker").click()
    dialog = page.get_by_test_id("scale-dialog")
    expect(dialog).to_contain_text("unified 1 → 2")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(shown.get_by_role("button", name="Add a unified worker")).to_be_focused()
    panel.ask("POST", f"/api/runs/{run_id}/stop")


def test_what_changed_meanwhile_is_not_done(page: Page, panel: Any, opened: tuple[Page, Any]) -> None:
    run_id = panel.deploy()
    shown = card(page, run_id)
    expect(shown.get_by_test_id("run-state")).to_have_text("Ready", timeout=WAIT_MS)
    shown.get_by_role("button", name="Add a prefill worker").click()
    dialog = page.get_by_test_id("scale-dialog")
    expect(dialog).to_be_visible()
    path = f"/api/runs/{run_id}/scale"
    other = panel.ask("POST", f"{path}/preview", {"decode": 2})
    panel.ask("POST", path, {"decode": 2, "shown": other["id"]})
    dialog.get_by_role("button", name="Apply").click()
    expect(shown.locator(".pd-outcome")).to_contain_text("has changed since the difference was shown")
    complaints = opened[1].complaints
    assert len(complaints) == 1 and "409" in complaints.pop(), "the browser itself notes a refusal"
    panel.ask("POST", f"/api/runs/{run_id}/stop")


def test_a_watched_run_says_why_it_is_not_offered(page: Page, panel: Any) -> None:
    run_id = panel.ask("POST", "/api/attach", {"name": "theirs", "router": "http://127.0.0.1:1"})["run"]
    shown = card(page, run_id)
    expect(shown.get_by_test_id("scale")).to_contain_text(re.compile("where it was started"))
    expect(shown.get_by_role("button", name="Add a decode worker")).to_be_hidden()
    panel.ask("POST", f"/api/runs/{run_id}/detach")
