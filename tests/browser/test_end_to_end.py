"""The main job on real input: `make run`, the printed URL, one click; text streams and the plot shows the transfer."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pd_http import free_port
from playwright.sync_api import Browser, Page, expect

from .operator_walk import Walk

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "artifacts" / "screenshots"
LINK = "link/prefill-0>decode-0/kv_bytes_per_s"
WAIT_MS = 120_000

pytestmark = pytest.mark.timeout(600)


class MadeRun:
    """`make run` in its own process group, with a state directory of its own."""

    def __init__(self, state: Path, port: int) -> None:
        self.environment = os.environ | {"PDPANEL_STATE_DIR": str(state)}
        self.output: list[str] = []
        self.process = subprocess.Popen(
            ["make", "run", f"ARGS=--port {port} --no-browser"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = ""
        deadline = time.monotonic() + 240
        while not self.url:
            line = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            assert line, "".join(self.output)
            if found := re.search(r"panel at (http://\S+)", line):
                self.url = found[1]

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self.output.append(line)
                self._lines.put(line)
        self._lines.put("")

    def kill(self) -> None:
        """Ends make and the panel without warning; a deployment is in sessions of its own and stays."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)
        self._reader.join(10)

    def cli(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pdpanel.panel.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    def runs(self) -> list[dict[str, Any]]:
        return json.loads(self.cli("status", "--json"))["runs"]


@pytest.fixture
def made(tmp_path: Path, smollm2: Any) -> Iterator[MadeRun]:
    run = MadeRun(tmp_path, free_port())
    yield run
    run.kill()
    run.cli("down", "--all")


def shot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"real-{name}.png", full_page=True)


def test_make_run_one_click_text_and_a_plot(made: MadeRun, chromium: Browser) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(made.url)
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)

    page.locator("#deploy-button").click()
    for name in ("prefill-0", "decode-0", "router"):
        row = page.locator(f'[data-process="{name}"]')
        expect(row.first).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    shot(page, "deploy")

    page.locator("#pd-tab-tryit-button").click()
    prompt = "Tell me a short story about a key and a value that travel together. " * 20
    page.get_by_test_id("try-prompt").fill(prompt)
    page.locator("#try-temperature").fill("0")  # drawn at 0.7, an answer of five words has come too
    page.get_by_test_id("try-send").click()
    output = page.get_by_test_id("try-output")
    expect(output).to_have_attribute("data-state", "streaming", timeout=WAIT_MS)
    expect(output).not_to_be_empty(timeout=WAIT_MS)
    expect(output).to_have_attribute("data-state", "done", timeout=WAIT_MS)
    assert len(output.inner_text().split()) > 5
    expect(page.get_by_test_id("metric-ttft")).to_contain_text(re.compile(r"\d"))
    shot(page, "tryit")

    page.locator("#pd-tab-observe-button").click()
    page.wait_for_function("key => window.pdpanel.rows.some(row => row[1][key] > 0)", arg=LINK)
    ticks = page.evaluate("window.pdpanel.ticks")
    page.wait_for_function("before => window.pdpanel.ticks > before + 2", arg=ticks)
    expect(page.locator('[data-chart="kv"] canvas').first).to_be_visible()
    peak = page.evaluate("key => Math.max(...window.pdpanel.rows.map(row => row[1][key] ?? 0))", LINK)
    # About 300 tokens of 23,040 B, seen over a sample of half a second or two.
    assert 1e6 < peak < 1e9
    shot(page, "observe")
    context.close()

    made.kill()
    run = next(run for run in made.runs() if run["state"] == "ready")
    assert {process["state"] for process in run["processes"]} == {"ready"}
    body = json.dumps({"text": "Hello", "sampling_params": {"max_new_tokens": 3, "ignore_eos": True}}).encode()
    request = urllib.request.Request(run["router_url"] + "/generate", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        assert json.load(response)["meta_info"]["completion_tokens"] == 3, "it serves on without its panel"

    pids = [process["pid"] for process in run["processes"]]
    made.cli("down")
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_the_panel_shows_what_the_command_line_started(made: MadeRun, chromium: Browser) -> None:
    made.cli("up", "--unified", "1", "--name", "from-the-shell")
    context = chromium.new_context(reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(made.url)
    row = page.locator('[data-process="unified-0"]')
    expect(row.first).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    row.first.locator('[data-action="restart"]').click()
    expect(row.first).to_have_attribute("data-state", re.compile("starting|stopping"), timeout=WAIT_MS)
    expect(row.first).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    row.first.locator('[data-action="stop"]').click()
    expect(row.first).to_have_attribute("data-state", "stopped", timeout=WAIT_MS)
    states = {p["name"]: p["state"] for run in made.runs() for p in run["processes"]}
    assert states == {"unified-0": "stopped", "router": "ready"}
    context.close()


def open_live(browser: Browser, url: str) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce").new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(url)
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    return page


@pytest.mark.slow
def test_an_operators_day_with_a_real_deployment(made: MadeRun, chromium: Browser, tmp_path: Path) -> None:
    page = open_live(chromium, made.url)
    walk = Walk(page, tmp_path, WAIT_MS)
    walk.deploy()
    watch_from_a_second_panel(walk, chromium, tmp_path / "second")
    walk.crash_of_decode()
    walk.death_of_the_runner()
    shot(page, "runner-replaced")
    walk.restart_run()
    walk.stop_all()
    walk.resume()
    shot(page, "resumed")
    walk.stop_all()
    walk.find_in_history()
    shot(page, "history")
    walk.clone()
    walk.export()
    audit = made.cli("audit")
    assert re.search(rf"panel .*adopt.*{walk.run_id}", audit), audit
    page.context.close()


def watch_from_a_second_panel(walk: Walk, browser: Browser, state: Path) -> None:
    """Attaches to the run from a panel of another state directory, detaches, and leaves it as it was."""
    second = MadeRun(state, free_port())
    try:
        page = open_live(browser, second.url)
        pids = walk.pids()
        page.get_by_test_id("attach-form").locator("summary").click()
        page.get_by_test_id("attach-router").fill(walk.record()["router_url"])
        page.get_by_test_id("attach-button").click()
        expect(page.get_by_test_id("attach-outcome")).to_contain_text("Watching as run", timeout=WAIT_MS)
        card = page.locator("article[data-run]").first
        expect(card).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
        expect(card.locator("tr[data-process]")).to_have_count(3, timeout=WAIT_MS)
        expect(card.get_by_test_id("stop-all")).to_be_hidden()
        shot(page, "attached")
        card.get_by_test_id("detach-run").click()
        expect(card).to_have_attribute("data-state", "stopped", timeout=WAIT_MS)
        page.context.close()
    finally:
        second.kill()
        second.cli("down", "--all")
    walk.ready()
    assert walk.pids() == pids
