"""What limits the run, on the Observe tab: read, opened, followed into Plan, and looked at narrow and dark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"


def _show(page: Page, run_id: str) -> None:
    page.evaluate(f"() => window.pdpanel.select({run_id!r})")
    page.get_by_role("tab", name="Observe").click()
    expect(page.get_by_test_id("verdict-limit")).to_have_text("Prefill")
    page.get_by_text("Evidence of the last").click()


def test_the_verdict_is_read_with_its_evidence(page: Page, run_id: str) -> None:
    _show(page, run_id)
    expect(page.get_by_test_id("verdict-says")).to_contain_text("Prefill limits it: it computes 97% of the time")
    expect(page.get_by_role("row", name="Time in which prefill has a prompt")).to_contain_text("97 %")
    expect(page.get_by_role("row", name="Time to the first token, median")).to_contain_text("412 ms")
    # What comes from outside is text.
    expect(page.get_by_role("row", name="CPU of <b>prefill-0</b>")).to_contain_text("0.98 cores")
    tries = page.get_by_test_id("verdict-suggestions").get_by_role("listitem")
    expect(tries).to_have_count(3)
    expect(tries.nth(2).get_by_role("button")).to_have_count(0)
    tries.nth(1).get_by_role("button", name="Prove the transport").click()
    expect(page.get_by_test_id("proof-says")).not_to_be_empty()


def test_a_suggestion_opens_the_changed_deployment(page: Page, run_id: str) -> None:
    _show(page, run_id)
    page.get_by_test_id("verdict-suggestions").get_by_role("button", name="Open in Plan").click()
    expect(page.get_by_role("tab", name="Plan")).to_have_attribute("aria-selected", "true")
    expect(page.locator('[data-path="prefill.count"] input')).to_have_value("2")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_it_fits_and_can_be_read(open_view: Callable[..., Page], run_id: str, width: int, scheme: str) -> None:
    page = open_view(width, 900, scheme)
    _show(page, run_id)
    page.get_by_test_id("verdict-says").scroll_into_view_if_needed()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"verdict-{width}-{scheme}.png")
    assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    found: Any = Axe().run(page, context=".pd-verdict")
    assert found.response["violations"] == []
