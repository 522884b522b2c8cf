"""The Logs tab as a person uses it: follow and pause, search, levels, explanations, times, and hostile lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

WAIT_MS = 20_000
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
BEGIN = datetime(2026, 11, 21, 5, 0, 0)


@pytest.fixture(scope="module")
def logged_run(panel: Any) -> Iterator[str]:
    """One simulated run for all tests of this file; each test uses a process of its own."""
    run = panel.deploy(4, 4)
    yield run
    panel.ask("POST", f"/api/runs/{run}/stop")


def path_of(panel: Any, run: str, process: str) -> Path:
    return panel.folder / f"{run}-{process}.log"


def open_log(page: Page, run: str, process: str) -> Locator:
    page.evaluate("(id) => window.pdpanel.select(id)", run)
    page.get_by_role("tab", name="Logs").click()
    page.get_by_test_id("log-process").select_option(process)
    return page.get_by_test_id("log")


def write_steps(path: Path, count: int) -> None:
    with path.open("a") as file:
        for number in range(count):
            stamp = (BEGIN + timedelta(seconds=number)).isoformat(sep=" ")
            level = "WARNING" if number % 1000 == 500 else "INFO"
            file.write(f"{stamp} {level} step {number:06d} of a long log\n")


def test_log_tails(page: Page, panel: Any, logged_run: str) -> None:
    log = open_log(page, logged_run, "decode-1")
    expect(log).to_contain_text("decode-1 request r-000001", timeout=WAIT_MS)
    assert "\x1b" not in log.inner_text()
    with path_of(panel, logged_run, "decode-1").open("a") as file:
        file.write("\x1b[31m<b>MARK</b>\x1b[0m\n")
    expect(log).to_contain_text("<b>MARK</b>")
    assert log.locator("b").count() == 0
    assert log.evaluate("node => node.scrollTop + node.clientHeight >= node.scrollHeight - 2")


def test_a_paused_log_keeps_its_place(page: Page, panel: Any, logged_run: str) -> None:
    path = path_of(panel, logged_run, "router")
    write_steps(path, 3000)
    log = open_log(page, logged_run, "router")
    expect(log).to_contain_text("step 002999", timeout=WAIT_MS)
    log.evaluate("node => { node.scrollTop = node.scrollHeight / 2; }")
    expect(page.get_by_test_id("log-follow")).not_to_be_checked()
    seen = log.evaluate("node => node.scrollTop")
    with path.open("a") as file:
        file.write("the last\n")
    expect(log).to_contain_text("the last")
    assert log.evaluate("node => node.scrollTop") == seen
    page.get_by_test_id("log-follow").check()
    expect(log.get_by_text("the last", exact=True)).to_be_in_viewport()


def test_older_lines_come_when_one_scrolls_up_and_the_page_stays_small(page: Page, panel: Any, logged_run: str) -> None:
    write_steps(path_of(panel, logged_run, "prefill-0"), 60_000)
    log = open_log(page, logged_run, "prefill-0")
    expect(log).to_contain_text("step 059999", timeout=WAIT_MS)
    log.focus()
    for _ in range(6):
        before = log.locator("> div").first.get_attribute("data-at")
        log.evaluate("node => { node.scrollTop = 0; }")
        page.wait_for_function(
            "before => document.querySelector('[data-testid=log] > div').dataset.at !== before", arg=before
        )
    assert log.evaluate("node => node.childElementCount") <= 1500
    places = log.evaluate("node => [...node.children].map((row) => [row.row.at, row.row.end])")
    assert all(one[1] == two[0] for one, two in itertools.pairwise(places))
    page.keyboard.press("Home")
    expect(log).to_contain_text("step 000000")


def test_search_jumps_counts_and_matches_case(page: Page, panel: Any, logged_run: str) -> None:
    path = path_of(panel, logged_run, "decode-0")
    write_steps(path, 20_000)
    log = open_log(page, logged_run, "decode-0")
    expect(log).to_contain_text("step 019999", timeout=WAIT_MS)
    page.get_by_test_id("log-find").fill("STEP 0000")
    page.get_by_test_id("log-next").click()
    expect(log.locator("[data-current]")).to_contain_text("step 000000")
    expect(page.get_by_test_id("log-hits")).to_have_text("1 of 100 lines")
    page.get_by_test_id("log-next").click()
    expect(page.get_by_test_id("log-hits")).to_have_text("2 of 100 lines")
    page.get_by_test_id("log-previous").click()
    page.get_by_test_id("log-previous").click()
    expect(log.locator("[data-current]")).to_contain_text("step 000099")
    page.get_by_test_id("log-case").check()
    page.get_by_test_id("log-next").click()
    expect(page.get_by_test_id("log-trouble")).to_contain_text("Nothing in this log matches")
    page.get_by_test_id("log-regex").check()
    page.get_by_test_id("log-case").uncheck()
    page.get_by_test_id("log-find").fill(r"step 0+77\d\b")
    page.get_by_test_id("log-next").click()
    expect(log.locator("[data-current]")).to_contain_text("step 00077")


def test_levels_first_error_and_times(page: Page, panel: Any, logged_run: str) -> None:
    path = path_of(panel, logged_run, "decode-2")
    write_steps(path, 12_000)
    with path.open("a") as file:
        file.write("E1121 09:00:00.321669 1 transfer_metadata.cpp:1098] Local segment descriptor not found\n")
        file.write("2026-11-21 09:00:00 ERROR it broke here\n  File engine.py, line 3\n")
    write_steps(path, 3000)
    log = open_log(page, logged_run, "decode-2")
    expect(log).to_contain_text("step 002999", timeout=WAIT_MS)
    page.get_by_test_id("log-level").select_option("warning")
    expect(log).to_contain_text("step 002500")
    expect(log).to_contain_text("File engine.py")
    assert log.evaluate("node => [...node.children].every((row) => ['warning', 'error'].includes(row.dataset.level))")
    page.get_by_test_id("log-level").select_option("all")
    page.get_by_test_id("log-first-error").click()
    expect(log.locator("[data-current]")).to_contain_text("it broke here")
    harmless = log.locator(".pd-logrow").filter(has_text="Local segment descriptor")
    expect(harmless).to_have_attribute("data-level", "info")
    expect(harmless.get_by_role("button", name="Explained: log-harmless-local-segment")).to_be_visible()
    page.get_by_test_id("log-time").fill("2026-11-21 05:30:00")
    page.get_by_test_id("log-time-go").click()
    expect(log.locator("[data-current]")).to_contain_text("step 001800")


def test_explained_lines_are_marked(page: Page, panel: Any, logged_run: str) -> None:
    with path_of(panel, logged_run, "decode-3").open("a") as file:
        file.write("E1121 05:05:38.069805 1 rdma.cpp:1] Failed to register memory 0x7f: Bad address [14]\n")
    log = open_log(page, logged_run, "decode-3")
    mark = log.get_by_test_id("log-mark")
    expect(mark).to_have_count(1, timeout=WAIT_MS)
    mark.focus()
    expect(page.get_by_test_id("log-note")).to_contain_text("What to do:")
    page.get_by_test_id("log-note").get_by_role("button", name="Close").click()
    expect(page.get_by_test_id("log-note")).to_be_hidden()
    page.get_by_test_id("log-explain").click()
    expect(page.get_by_test_id("log-report")).to_contain_text("simulated")


def test_hostile_and_binary_content_runs_nothing(page: Page, panel: Any, logged_run: str) -> None:
    with path_of(panel, logged_run, "prefill-1").open("ab") as file:
        file.write(HOSTILE.encode() + b"\n\x1b]8;;javascript:window.hacked=1\x07link\x1b]8;;\x07\n")
        file.write("safe\u202eevil\n".encode() + b"w" * 10_000 + b"\n" + bytes(range(256)) * 300 + b"\nthe end\n")
    log = open_log(page, logged_run, "prefill-1")
    expect(log).to_contain_text("the end", timeout=WAIT_MS)
    expect(page.get_by_test_id("log-state")).to_contain_text("does not look like text")
    page.get_by_test_id("log-find").fill("<img")
    page.get_by_test_id("log-next").click()
    expect(log.locator("[data-current]")).to_contain_text('<img src=x onerror="window.hacked=1">')
    assert log.locator("img, script, a").count() == 0
    assert page.evaluate("window.hacked") is None
    assert "\u202e" not in log.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_log_that_is_cut_or_gone_is_said(page: Page, panel: Any, logged_run: str) -> None:
    path = path_of(panel, logged_run, "prefill-2")
    log = open_log(page, logged_run, "prefill-2")
    expect(log).to_contain_text("prefill-2 request", timeout=WAIT_MS)
    path.write_text("after the cut\n")
    expect(log).to_contain_text("after the cut")
    expect(log).not_to_contain_text("r-000000 ")
    page.get_by_test_id("log-process").select_option("model")
    expect(page.get_by_test_id("log-state")).to_contain_text("is not there")
