"""The panel in a real browser, over simulated runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

WAIT_MS = 20_000
TICKS = "() => window.pdpanel.ticks"


@pytest.fixture
def page(shared_page: Page) -> Page:
    return shared_page


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def wait_for_ticks(page: Page, more: int) -> None:
    before = page.evaluate(TICKS)
    page.wait_for_function(f"() => window.pdpanel.ticks >= {before + more}", timeout=WAIT_MS)


def choose(page: Page, run_id: str) -> None:
    page.get_by_test_id("run-picker").select_option(run_id)


def press_deploy(page: Page) -> str:
    """Presses the button and returns the run that it started."""
    before = page.evaluate("() => window.pdpanel.selected")
    page.locator("#deploy-button").click()
    page.wait_for_function("(before) => window.pdpanel.selected !== before", arg=before, timeout=WAIT_MS)
    run_id = page.evaluate("() => window.pdpanel.selected")
    expect(page.get_by_test_id("deploy-outcome")).to_contain_text(f"Started run {run_id}.")
    return run_id


def test_deploy_tab_comes_first(page: Page) -> None:
    expect(page.get_by_role("tab").first).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Deploy")
    expect(page.get_by_role("button", name="Deploy", exact=True)).to_be_visible()


def test_deploy_starts_the_chosen_run(page: Page, panel: Any) -> None:
    page.get_by_role("radio", name="Prefill and decode apart").check()
    page.get_by_label("Prefill workers").fill("2")
    page.get_by_label("Decode workers").fill("3")
    page.get_by_role("combobox", name="Model").fill("my-model")
    page.get_by_role("combobox", name="Model").press("Enter")
    page.get_by_role("combobox", name="Transport").click()
    page.get_by_role("option", name="tcp", exact=True).click()
    run_id = press_deploy(page)
    run = panel.run(run_id)
    assert (run["mode"], run["model"], run["transport"]) == ("pd", "my-model", "tcp")
    card = page.locator(f'[data-run="{run_id}"]')
    for name in ("prefill-0", "prefill-1", "decode-0", "decode-1", "decode-2", "router"):
        expect(card.locator(f'[data-process="{name}"]')).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    expect(card.get_by_test_id("run-state")).to_have_text("Ready")
    expect(page.get_by_test_id("processes-chip")).to_have_text("6 of 6 processes ready")
    expect(card.get_by_test_id("next-step")).to_be_visible()
    card.get_by_test_id("stop-all").click()
    page.get_by_test_id("confirm").get_by_role("button", name="Stop all").click()
    expect(card.get_by_test_id("run-state")).to_have_text("Stopped")
    expect(card.get_by_test_id("stop-all")).to_be_hidden()


def test_unified_needs_neither_counts_nor_transport(page: Page, panel: Any) -> None:
    page.get_by_role("radio", name="Unified").check()
    expect(page.get_by_label("Prefill workers")).to_be_hidden()
    expect(page.get_by_role("combobox", name="Transport")).to_be_hidden()
    run_id = press_deploy(page)
    assert [each["role"] for each in panel.run(run_id)["processes"]] == ["unified", "router"]
    panel.ask("POST", f"/api/runs/{run_id}/stop")


def test_refused_deployment_is_one_sentence(open_page: Any) -> None:
    page = open_page()
    page.get_by_role("combobox", name="Model").fill("missing")
    page.get_by_role("combobox", name="Model").press("Enter")
    page.locator("#deploy-button").click()
    expect(page.get_by_test_id("deploy-outcome")).to_have_text(
        "model = 'missing': is not known; name one of the list or a file."
    )


def test_row_stop_and_restart(page: Page, run_id: str) -> None:
    row = page.locator(f'[data-run="{run_id}"] [data-process="decode-1"]')
    expect(row).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    row.get_by_role("button", name="Stop decode-1").click()
    expect(row).to_have_attribute("data-state", "stopped")
    expect(row.get_by_role("button", name="Stop decode-1")).to_be_disabled()
    card = page.locator(f'[data-run="{run_id}"]')
    expect(card.get_by_test_id("run-state")).to_have_text("Degraded")
    row.get_by_role("button", name="Restart decode-1").click()
    expect(row).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    expect(row).to_contain_text("restarted once")
    expect(card.locator('[data-process="decode-0"]')).to_have_attribute("data-state", "ready")


def test_row_button_keeps_focus_while_the_table_lives(page: Page, run_id: str) -> None:
    button = page.locator(f'[data-run="{run_id}"] [data-process="decode-0"] [data-action="restart"]')
    expect(button).to_be_enabled()
    choose(page, run_id)
    button.focus()
    wait_for_ticks(page, 4)
    expect(button).to_be_focused()


def test_try_it_streams_and_measures(page: Page, run_id: str) -> None:
    choose(page, run_id)
    open_tab(page, "Try it")
    page.get_by_test_id("try-prompt").fill("tell me")
    page.get_by_label("Max tokens").fill("20")
    expect(page.get_by_test_id("try-send")).to_be_enabled(timeout=WAIT_MS)
    page.get_by_test_id("try-send").click()
    output = page.get_by_test_id("try-output")
    expect(output).to_contain_text("word0 word1")
    expect(output).to_have_attribute("data-state", "done", timeout=WAIT_MS)
    assert output.inner_text().split() == [f"word{number}" for number in range(20)]
    expect(page.get_by_test_id("metric-tokens")).to_have_text("20")
    for name in ("ttft", "itl", "p99"):
        expect(page.get_by_test_id(f"metric-{name}")).to_have_text(re.compile(r"\d m?s$"))
    expect(page.get_by_test_id("metric-rate")).to_have_text(re.compile(r"^\d"))


def test_try_it_stops(page: Page, run_id: str) -> None:
    choose(page, run_id)
    open_tab(page, "Try it")
    page.get_by_test_id("try-prompt").fill("tell me")
    page.get_by_label("Max tokens").fill("4000")
    page.get_by_test_id("try-send").click()
    output = page.get_by_test_id("try-output")
    expect(output).to_contain_text("word5")
    page.get_by_test_id("try-stop").click()
    expect(output).to_have_attribute("data-state", "stopped")
    expect(page.get_by_test_id("try-send")).to_be_enabled()


def test_try_it_failure_is_one_sentence(open_page: Any, run_id: str) -> None:
    page = open_page()
    choose(page, run_id)
    open_tab(page, "Try it")
    page.get_by_test_id("try-prompt").fill("fail")
    page.get_by_test_id("try-send").click()
    expect(page.get_by_test_id("try-error")).to_have_text("The router answered with status 400: the prompt is too long")


def test_model_output_is_text(page: Page, run_id: str) -> None:
    choose(page, run_id)
    open_tab(page, "Try it")
    page.get_by_test_id("try-prompt").fill("hostile")
    page.get_by_label("Max tokens").fill("2")
    page.get_by_test_id("try-send").click()
    output = page.get_by_test_id("try-output")
    expect(output).to_contain_text("<img src=x")
    expect(output).to_have_attribute("data-state", "done")
    assert output.locator("img, script").count() == 0
    assert page.evaluate("() => window.hacked") is None


def test_hardware_is_shown(page: Page) -> None:
    open_tab(page, "Hardware")
    hardware = page.get_by_test_id("hardware")
    expect(hardware).to_contain_text("Processor")
    expect(hardware).to_contain_text("Network interfaces")
    expect(hardware).to_contain_text("Findings for PD serving")
