"""The panel goes away and comes back; the page says so and recovers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pd_http import free_port
from playwright.sync_api import Page, expect

WAIT_MS = 40_000


@pytest.fixture
def own_panel(panel: Any, tmp_path: Path) -> Iterator[Any]:
    """A panel process that the test may end."""
    process = type(panel)(tmp_path, free_port())
    process.start()
    yield process
    if process.process.poll() is None:
        process.stop()


@pytest.mark.timeout(180)
def test_page_recovers_when_the_panel_comes_back(open_page: Any, own_panel: Any) -> None:
    run_id = own_panel.deploy()
    page: Page = open_page(process=own_panel)
    chip = page.get_by_test_id("live-chip")
    expect(chip).to_have_text("Live")
    expect(page.locator(f'[data-run="{run_id}"]')).to_be_visible()
    own_panel.stop()
    expect(chip).to_have_attribute("data-state", "disconnected", timeout=WAIT_MS)
    expect(chip).to_have_text(re.compile("Disconnected, next try in [1-8] s"))
    own_panel.start()
    expect(chip).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    # The simulated runs died with their panel: the page shows what is there now, not what was.
    expect(page.locator(f'[data-run="{run_id}"]')).to_have_count(0)
    expect(page.get_by_test_id("no-runs")).to_be_visible()
    again = own_panel.deploy()
    expect(page.locator(f'[data-run="{again}"]')).to_be_visible()


@pytest.mark.timeout(180)
def test_new_token_is_told(open_page: Any, own_panel: Any) -> None:
    page: Page = open_page(process=own_panel)
    own_panel.stop()
    own_panel.token = "another-token"
    own_panel.start()
    chip = page.get_by_test_id("live-chip")
    expect(chip).to_have_attribute("data-state", "refused", timeout=WAIT_MS)
    expect(chip).to_contain_text("open the URL that the panel printed")


def test_empty_panel_says_what_to_do(open_page: Any, own_panel: Any) -> None:
    page: Page = open_page(process=own_panel)
    expect(page.get_by_test_id("no-runs")).to_contain_text("press Deploy")
    page.get_by_role("tab", name="Try it").click()
    expect(page.get_by_test_id("try-why")).to_have_text("Nothing is running: deploy first.")
    expect(page.get_by_test_id("try-send")).to_be_disabled()
    page.get_by_role("tab", name="Observe").click()
    expect(page.get_by_test_id("observe-empty")).to_be_visible()
    page.get_by_test_id("observe-empty").get_by_role("button").click()
    expect(page.get_by_role("tab", selected=True)).to_have_text("Deploy")
