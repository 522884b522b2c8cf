"""Accessibility, narrow screens and dark mode, and screenshots for people to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
TABS = {
    "Deploy": "deploy",
    "Try it": "tryit",
    "Observe": "observe",
    "Logs": "logs",
    "Hardware": "hardware",
    "Plan": "plan",
    "Export": "export",
}
SIZES = {"wide": (1440, 900), "narrow": (390, 844)}


def show(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab).click()
    if tab == "Try it":
        page.get_by_label("Max tokens").fill("30")
        expect(page.get_by_test_id("try-send")).to_be_enabled()
        page.get_by_test_id("try-send").click()
        expect(page.get_by_test_id("try-output")).to_have_attribute("data-state", "done")
    if tab == "Observe":
        expect(page.locator("[data-chart] canvas")).to_have_count(3)
    if tab == "Logs":
        expect(page.get_by_test_id("log")).to_contain_text("request")
    if tab == "Hardware":
        expect(page.get_by_test_id("hardware")).to_contain_text("Processor")
    if tab == "Plan":
        expect(page.get_by_test_id("plan-commands")).to_contain_text("--disaggregation-mode")
    if tab == "Export":
        expect(page.get_by_test_id("export-files").locator("button").first).to_be_visible()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_tab_is_accessible_and_fits(open_page: Any, run_id: str, scheme: str, size: str) -> None:
    width, height = SIZES[size]
    page: Page = open_page(width, height, scheme)
    page.get_by_test_id("run-picker").select_option(run_id)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for tab, name in TABS.items():
        show(page, tab)
        page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}-{size}.png", full_page=True)
        scrolled = page.evaluate("() => document.documentElement.scrollWidth")
        assert scrolled <= width, f"{tab} is {scrolled} px wide"
        results = Axe().run(page)
        serious = [
            f"{violation['id']}: {node['html'][:160]}"
            for violation in results.response["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
        assert serious == [], tab


def test_dark_follows_the_system_and_the_button(open_page: Any) -> None:
    page: Page = open_page(scheme="dark")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_test_id("theme").click()
    light = page.evaluate(ground)
    assert sum(map(int, light[4:-1].split(","))) > 600 > 200 > sum(map(int, dark[4:-1].split(",")))
    page.reload()
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live")
    assert page.evaluate(ground) == light


def test_keyboard_reaches_every_control_with_a_visible_focus(open_page: Any) -> None:
    page: Page = open_page()
    page.locator("body").click(position={"x": 1, "y": 1})
    seen: set[str] = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        where, outline = page.evaluate(
            """() => {
              const node = document.activeElement;
              const box = node.closest(".secondary-wrap") ?? node;
              const style = getComputedStyle(box);
              const name = node.id || node.dataset.testid || node.getAttribute("aria-label") || node.tagName;
              return [name, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
            }"""
        )
        if where not in ("BODY", "INPUT") and where not in seen:
            assert outline, where
        seen.add(where)
    assert {"theme", "pd-tab-deploy-button", "Model", "Prefill workers", "deploy-button"} <= seen
