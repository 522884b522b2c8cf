"""`pdpanel --simulate`: the mark on every view, the suggested deployment in one click, and counters that move."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from pd_http import free_port
from playwright.sync_api import Browser, Page, expect

from .conftest import Watched

WAIT_MS = 90_000
TABS = ("deploy", "tryit", "observe", "bench", "logs", "hardware", "plan", "export")
NIC = "nic/mlx5_0:1/tx_bytes_per_s"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, smollm2: Any) -> Iterator[str]:
    """The address of a panel on the smallest simulated host; its runs are ended afterwards."""
    state = tmp_path_factory.mktemp("state")
    command = [sys.executable, "-m", "pdpanel.panel.cli", "--state-dir", str(state), "--simulate", "small-2"]
    process = subprocess.Popen(
        [*command, "--port", str(free_port()), "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PDPANEL_CONFIG_DIR": str(state / "config")},
    )
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for line in stream:
                lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    said = ""
    while not (found := re.search(r"panel at (http://\S+)", said)):
        line = lines.get(timeout=90)
        assert line, said
        said += line
    assert said.startswith("SIMULATED host small-2")
    yield found[1]
    process.terminate()
    process.wait(20)
    subprocess.run([*command, "down", "--all"], check=True, capture_output=True, timeout=100)


@pytest.fixture(scope="module")
def page(chromium: Browser, url: str) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    watched = Watched()
    watched.watch(page)
    page.goto(url)
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    yield page
    context.close()
    assert watched.complaints == []


@pytest.fixture
def no_run(page: Page) -> None:
    """Ends what other tests have started: the suggestion is for those who have no run."""
    page.evaluate(
        """async () => {
          const headers = { "Content-Type": "application/json" };
          for (const run of window.pdpanel.runs.filter((one) => one.can_stop))
            await fetch(`/api/runs/${run.id}/stop`, { method: "POST", headers, body: "{}" });
        }"""
    )
    page.wait_for_function("() => window.pdpanel.runs.every((one) => one.state === 'stopped')", timeout=WAIT_MS)


def deploy_suggested(page: Page) -> None:
    """Starts the deployment that the page suggests, where no run goes on, and waits until it is ready."""
    page.locator("#pd-tab-deploy-button").click()
    if page.get_by_test_id("simulation").is_visible():
        page.get_by_test_id("simulation-deploy").click()
    for name, place in (("prefill-0", "GPU 0, mlx5_0"), ("decode-0", "GPU 1, mlx5_0")):
        row = page.locator(f'[data-process="{name}"]').first
        expect(row.get_by_test_id("place")).to_have_text(place)
        expect(row).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    expect(page.locator('[data-process="router"]').first).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    expect(page.get_by_test_id("simulation")).to_be_hidden()


def test_every_view_has_the_mark(page: Page) -> None:
    expect(page.get_by_test_id("simulated")).to_be_visible()
    for tab in TABS:
        page.locator(f"#pd-tab-{tab}-button").click()
        note = page.locator(f"#pd-tab-{tab}").get_by_test_id("simulated-note")
        expect(note).to_be_visible()
        expect(note).to_contain_text("SIMULATED")
        expect(page.get_by_test_id("simulated")).to_be_visible()


def test_the_suggestion_has_no_violation(page: Page, no_run: None) -> None:
    page.locator("#pd-tab-deploy-button").click()
    expect(page.get_by_test_id("simulation-deploy")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # pyright: ignore[reportArgumentType]
        found = Axe().run(page, context="[data-testid=simulation], #pd-tab-deploy .pd-simulated-note")
        assert found.violations_count == 0, found.generate_report()
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1440, "height": 1000})


def test_hardware_shows_the_made_up_host(page: Page) -> None:
    page.locator("#pd-tab-hardware-button").click()
    expect(page.get_by_text("You look at a SIMULATED host small-2")).to_be_visible()
    expect(page.get_by_test_id("hardware-summary")).to_contain_text("NVIDIA L40S")
    expect(page.get_by_test_id("traffic-now")).to_contain_text("/s")  # noise


def test_one_click_deploys_and_the_nic_moves(page: Page, no_run: None) -> None:
    deploy_suggested(page)
    page.locator("#pd-tab-observe-button").click()
    page.wait_for_function(f"() => window.pdpanel.lastValue('{NIC}') > 0", timeout=WAIT_MS)
    # Noise is what a port carries while nothing happens.
    assert page.evaluate(f"() => window.pdpanel.lastValue('{NIC}')") < 10e6
    # All rows that the page was told of, since several may come at once: a burst is in one or two of them.
    most = f"() => Math.max(0, ...window.pdpanel.rows.map(([, values]) => values['{NIC}'] ?? 0))"
    page.locator("#pd-tab-tryit-button").click()
    page.get_by_test_id("try-prompt").fill("A key and a value travel together over a NIC. " * 20)
    page.get_by_test_id("try-send").click()
    page.locator("#pd-tab-observe-button").click()
    page.wait_for_function(f"() => ({most})() > 100e6", timeout=WAIT_MS)
    line = 100 * 125e6
    assert page.evaluate(most) <= line * 1.5


@pytest.mark.slow
def test_proof_says_simulated(page: Page) -> None:
    deploy_suggested(page)
    page.locator("#pd-tab-observe-button").click()
    page.get_by_test_id("prove").click()
    told = re.compile(r"^SIMULATED: This deployment's KV travels over RDMA on mlx5_0")
    expect(page.get_by_test_id("proof-says")).to_have_text(told, timeout=WAIT_MS)
