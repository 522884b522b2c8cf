"""Accessibility and fit of every view, filled with data, in light and dark, wide and narrow; and the keyboard."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from views import TABS, fill, show

WIDE: Any = {"width": 1440, "height": 900}
NARROW: Any = {"width": 390, "height": 844}
CONTRAST = {"runOnly": ["color-contrast", "link-in-text-block"]}


def violations(page: Page, options: dict[str, Any] | None = None, within: str | None = None) -> list[str]:
    # What passes is not told in full: that costs more than the checks.
    options = {"resultTypes": ["violations"], **(options or {})}
    results = Axe().run(page, context=within, options=options)
    return [
        f"{violation['id']} ({violation['impact']}): {node['html'][:200]}"
        for violation in results.response["violations"]
        for node in violation["nodes"]
    ]


def in_both_schemes(page: Page, within: str | None = None) -> list[str]:
    """Returns what axe finds: everything in light, and in dark what colours alone can change."""
    found = violations(page, within=within)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("() => document.body.classList.contains('dark')")
    found += [f"dark: {each}" for each in violations(page, CONTRAST, within)]
    page.emulate_media(color_scheme="light")
    page.wait_for_function("() => !document.body.classList.contains('dark')")
    return found


def fits(page: Page, width: int, tab: str) -> None:
    scrolled = page.evaluate("() => document.documentElement.scrollWidth")
    assert scrolled <= width, f"{tab} is {scrolled} px wide"


@pytest.mark.timeout(240)
def test_every_tab_is_accessible_and_fits(shared_page: Page, panel: Any, run_id: str) -> None:
    page = shared_page
    crashed = fill(page, panel, run_id)
    for tab in TABS:
        show(page, tab)
        fits(page, WIDE["width"], tab)
        assert in_both_schemes(page) == [], tab
        page.set_viewport_size(NARROW)
        fits(page, NARROW["width"], tab)
        # What a narrow page can break: panes that begin to scroll, targets that come close.
        assert violations(page, {"runOnly": ["scrollable-region-focusable", "target-size"]}) == [], tab
        page.set_viewport_size(WIDE)
    panel.ask("POST", f"/api/runs/{crashed}/stop")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", [NARROW, {"width": 1024, "height": 768}], ids=["narrow", "middle"])
def test_every_tab_is_accessible_at_other_widths(shared_page: Page, panel: Any, run_id: str, size: Any) -> None:
    page = shared_page
    crashed = fill(page, panel, run_id)
    page.set_viewport_size(size)
    for tab in TABS:
        show(page, tab)
        fits(page, size["width"], tab)
        assert in_both_schemes(page) == [], tab
    page.set_viewport_size(WIDE)
    panel.ask("POST", f"/api/runs/{crashed}/stop")


@pytest.mark.timeout(180)
def test_messages_and_dialogs_are_accessible(shared_page: Page, run_id: str) -> None:
    page = shared_page
    page.evaluate("() => { window.pdpanel.toast('It worked.', { tone: 'good' }); }")
    page.evaluate("() => { window.pdpanel.toast('It did not.', { tone: 'bad' }); }")
    expect(page.get_by_test_id("toast")).to_have_count(2)
    assert in_both_schemes(page, ".pd-toasts") == []
    page.get_by_test_id("help").click()
    expect(page.get_by_test_id("help-dialog")).to_be_visible()
    assert in_both_schemes(page, "dialog[open]") == []
    page.keyboard.press("Escape")
    page.locator(f'.pd-card[data-run="{run_id}"]').get_by_test_id("report-run").click()
    expect(page.get_by_test_id("bug-report")).to_be_visible()
    assert in_both_schemes(page, "dialog[open]") == []
    page.keyboard.press("Escape")
    page.locator(f'.pd-card[data-run="{run_id}"]').get_by_role("button", name="Add a decode worker").click()
    expect(page.get_by_test_id("scale-lines")).to_contain_text("decode-2 is started")
    assert in_both_schemes(page, "dialog[open]") == []
    page.keyboard.press("Escape")
    page.evaluate("async () => { (await import('/static-pdpanel/prune.js')).freeDiskSpace(); }")
    expect(page.get_by_test_id("prune-sum")).to_contain_text("Frees")
    assert in_both_schemes(page, "dialog[open]") == []
    page.keyboard.press("Escape")
    page.locator(f'.pd-card[data-run="{run_id}"]').get_by_test_id("restart-run").click()
    expect(page.get_by_test_id("confirm")).to_be_visible()
    assert in_both_schemes(page, "dialog[open]") == []
    page.keyboard.press("Escape")


@pytest.mark.timeout(180)
def test_a_rank_that_is_gone_and_a_profile_are_told_accessibly(shared_page: Page, panel: Any) -> None:
    page = shared_page
    form = {"mode": "pd", "model": "a-model-of-ranks", "prefill": 1, "decode": 1, "transport": "tcp"}
    run = panel.ask("POST", "/api/runs", form)["run"]
    card = page.locator(f'.pd-card[data-run="{run}"]')
    row = card.locator('tr[data-process="decode-0"]')
    expect(row).to_contain_text("Rank 1 (pid 4712 on node 0) was ended by SIGKILL. The others go on; restart decode-0")
    ranks = card.get_by_test_id("ranks")
    expect(ranks.locator("summary")).to_have_text("Ranks: decode-0 TP 2 · DP attention 2 · EP 2 (gloo) 1 of 2 gone")
    ranks.locator("summary").click()
    expect(ranks.locator("tbody tr").nth(1)).to_contain_text("Gone")
    assert in_both_schemes(page, f'.pd-card[data-run="{run}"]') == []
    profile = row.get_by_role("button", name="Profile decode-0")
    profile.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_test_id("profile-dialog")
    for action, state in (("Start", "profiling"), ("Stop", "done")):
        dialog.get_by_role("button", name=action).focus()
        page.keyboard.press("Enter")
        expect(dialog.get_by_test_id("profile-state")).to_have_attribute("data-state", state)
        # Whoever works with the keyboard goes on at the other button.
        expect(dialog.get_by_role("button", name="Stop" if action == "Start" else "Start")).to_be_focused()
    expect(dialog.get_by_test_id("profile-says")).to_have_text(
        "2 decode steps in 4.00 s, 50 % of it at work. Most of the work was computing (75 %)."
    )
    expect(dialog.get_by_test_id("profile-steps")).to_contain_text("1.00 s")
    assert in_both_schemes(page, "dialog[open]") == []
    page.set_viewport_size(NARROW)
    fits(page, NARROW["width"], "profile")
    wide = dialog.evaluate("node => node.scrollWidth - node.clientWidth")
    assert wide <= 0, f"the dialog scrolls sideways by {wide} px"
    assert violations(page, {"runOnly": ["scrollable-region-focusable", "target-size"]}, "dialog[open]") == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(profile).to_be_focused()
    fits(page, NARROW["width"], "ranks")
    page.set_viewport_size(WIDE)
    panel.ask("POST", f"/api/runs/{run}/stop")


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


def test_keyboard_reaches_every_control_with_a_visible_focus(shared_page: Page) -> None:
    page = shared_page
    page.locator("body").click(position={"x": 1, "y": 1})
    page.get_by_role("link", name="Skip to the view").focus()
    seen: set[str] = set()
    for _ in range(45):
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
    assert {"theme", "help", "pd-tab-deploy-button", "Model", "Prefill workers", "deploy-button"} <= seen
