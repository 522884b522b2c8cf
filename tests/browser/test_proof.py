"""The proof of transport on the Observe tab: pressed, followed, read, and looked at on narrow and dark screens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"


def _prove(page: Page, run_id: str) -> None:
    page.evaluate(f"() => window.pdpanel.select({run_id!r})")
    page.get_by_role("tab", name="Observe").click()
    says = page.get_by_test_id("proof-says")
    page.get_by_test_id("prove").click()
    expect(says).to_contain_text("test request")
    expect(page.get_by_test_id("prove")).to_be_disabled()
    expect(says).to_have_text("This deployment's KV travels over TCP on eth0, although RDMA was asked for.")
    expect(page.get_by_test_id("prove")).to_be_enabled()


def test_a_proof_is_followed_to_its_evidence(page: Page, run_id: str) -> None:
    _prove(page, run_id)
    expect(page.get_by_test_id("proof-when")).to_contain_text("The engine moved 29.00 MB of KV")
    page.get_by_text("Evidence", exact=True).click()
    row = page.get_by_role("row", name="netdev eth0")
    expect(row).to_contain_text("1,030,000,000")
    expect(row).to_contain_text("29.90 MB")
    expect(row).to_contain_text("103 %")
    strange = page.get_by_role("row", name="rdma <b>mlx5_1</b>:1")
    expect(strange).to_contain_text("its driver does not answer")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1024, "light")])
def test_it_fits_and_can_be_read(open_view: Callable[..., Page], run_id: str, width: int, scheme: str) -> None:
    page = open_view(width, 900, scheme)
    _prove(page, run_id)
    page.get_by_text("Evidence", exact=True).click()
    page.get_by_test_id("proof-says").scroll_into_view_if_needed()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"proof-{width}-{scheme}.png")
    assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    found: Any = Axe().run(page, context=".pd-proof")
    assert found.response["violations"] == []
