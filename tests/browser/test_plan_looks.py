"""The Plan tab on wide and narrow screens, light and dark: axe finds nothing serious, and nothing is cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from plan_page import COMMA, MANY, commands, section, yaml
from playwright.sync_api import Page, expect

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"


def _look(page: Page, name: str, scheme: str, width: int) -> None:
    """Takes a picture, and fails for what axe finds serious and for a page wider than the screen."""
    page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    serious = [
        f"{violation['id']}: {node['html'][:160]}"
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    assert serious == []


SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
WIDTHS = pytest.mark.parametrize("width", [1440, 390])


def _planned(open_view: Any, scheme: str, width: int) -> Page:
    page = open_view(width, 900, scheme)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.get_by_role("tab", name="Plan").click()
    expect(commands(page)).to_contain_text("launch_router")
    return page


@SCHEMES
@WIDTHS
def test_a_plan_of_several_hosts_is_accessible_and_fits(open_view: Any, scheme: str, width: int) -> None:
    page = _planned(open_view, scheme, width)
    yaml(page).fill(MANY)
    expect(page.get_by_test_id("plan-title")).to_have_text("many")
    for name in ("hosts", "transfer", "workers", "router"):
        section(page, name)
    _look(page, "plan-many", scheme, width)


@SCHEMES
@WIDTHS
def test_errors_and_corrections_are_accessible_and_fit(open_view: Any, scheme: str, width: int) -> None:
    page = _planned(open_view, scheme, width)
    page.get_by_role("button", name="Changes").click()
    yaml(page).fill(MANY.replace("tp: 8", "tp: eight"))
    expect(page.get_by_test_id("plan-diff").locator("li").first).to_be_visible()
    expect(page.get_by_test_id("plan-error")).to_be_visible()
    page.get_by_role("button", name="Paste a command or config").click()
    page.get_by_test_id("plan-pasted").fill(COMMA)
    expect(page.get_by_test_id("plan-corrected")).to_be_visible()
    _look(page, "plan-error", scheme, width)


@SCHEMES
@WIDTHS
def test_presets_and_what_would_start_are_accessible_and_fit(open_view: Any, scheme: str, width: int) -> None:
    page = _planned(open_view, scheme, width)
    page.get_by_role("button", name="Presets").click()
    expect(page.get_by_test_id("presets").get_by_role("button").first).to_be_visible()
    page.get_by_test_id("plan-deploy").click()
    expect(page.get_by_test_id("plan-offer")).to_be_visible()
    _look(page, "plan-offer", scheme, width)
