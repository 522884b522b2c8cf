"""Pictures of every view of a simulated panel, for people and documents; nothing in them was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from views import TABS, fill, show

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
SIZES = {1440: 900, 1024: 768, 390: 844}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_view_is_pictured(shared_page: Page, panel: Any, run_id: str) -> None:
    """Writes artifacts/screenshots/VIEW-WIDTH-SCHEME.png."""
    page = shared_page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    guide = page.get_by_test_id("guide-close")
    if guide.is_visible():
        guide.click()
    crashed = fill(page, panel, run_id)
    for tab, name in TABS.items():
        show(page, tab)
        for width, height in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)  # pyright: ignore[reportArgumentType]
                is_dark = str(scheme == "dark").lower()
                page.wait_for_function(f"() => document.body.classList.contains('dark') === {is_dark}")
                path = SCREENSHOTS / f"{name}-{width}-{scheme}.png"
                page.screenshot(path=path)
                # A page without content is a few kB.
                assert path.stat().st_size > 10_000, path
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1440, "height": 900})
    panel.ask("POST", f"/api/runs/{crashed}/stop")
