"""Each parallel topology deployed from the panel by its preset: real workers, drawn with their ranks, and profiled."""

from __future__ import annotations

import base64
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
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pd_http import free_port
from playwright.sync_api import Browser, Locator, Page, expect

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
WAIT_MS = 120_000
PROMPT = {"text": "heads and experts " * 8, "sampling_params": {"max_new_tokens": 8, "temperature": 0}}
# By preset: its processes, the worker whose ranks are drawn, and a word of what each rank has.
TOPOLOGIES = {
    "parallel-tp1-tp2": (["prefill-0", "decode-0"], "decode-0", r"heads 0.5, KV heads 0.1"),
    "parallel-dp-attention": (["prefill-0", "decode-0"], "decode-0", r"attention group 1, heads 0.11"),
    "parallel-moe-ep2": (["prefill-0", "decode-0"], "decode-0", r"experts 4.7"),
    "parallel-elastic-ep": (["unified-0"], "unified-0", r"experts 4.7"),
    "parallel-two-nodes": (["prefill-0", "prefill-0-rank1", "decode-0"], "prefill-0-rank1", r"node 1, heads 6.11"),
    "parallel-epd": (["encoder-0", "encoder-1", "prefill-0", "decode-0"], "", ""),
}

pytestmark = pytest.mark.timeout(300)


class Panel:
    """A panel process with a state folder of its own."""

    def __init__(self, state: Path) -> None:
        self.port = free_port()
        self.environment = os.environ | {"PDPANEL_STATE_DIR": str(state)}
        self.output: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pdpanel.panel.cli", "--port", str(self.port), "--no-browser"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()
        deadline = time.monotonic() + 100
        found = None
        while found is None:
            line = lines.get(timeout=max(0.1, deadline - time.monotonic()))
            found = re.search(r"panel at (http://\S+)", line)
        self.url = found[1]

    def _read(self, lines: queue.Queue[str]) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self.output.append(line)
                lines.put(line)

    def cli(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "pdpanel.panel.cli", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self) -> dict[str, Any]:
        return json.loads(self.cli("status", "--json"))["runs"][0]

    def close(self) -> None:
        self.cli("down", "--all")
        self.process.terminate()
        self.process.wait(20)
        self._reader.join(10)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    panel = Panel(tmp_path_factory.mktemp("parallel"))
    yield panel
    panel.close()


@pytest.fixture(scope="module")
def page(made: Panel, chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(made.url)
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    yield page
    context.close()


def ask(url: str, body: object) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def deploy(page: Page, preset: str, processes: list[str]) -> Locator:
    """Deploys a preset from the Plan tab; returns the run's card once all is ready."""
    page.locator("#pd-tab-plan-button").click()
    page.get_by_role("button", name="Presets").click()
    page.get_by_test_id("preset-search").fill(preset)
    page.get_by_test_id("presets").get_by_role("button").first.click()
    expect(page.get_by_test_id("plan-begun")).to_contain_text(f"preset {preset}")
    expect(page.get_by_test_id("plan-commands")).to_contain_text(processes[-1])
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.get_by_test_id("plan-picture").screenshot(path=SCREENSHOTS / f"{preset}-plan.png")
    page.get_by_test_id("plan-deploy").click()
    page.get_by_test_id("plan-start").click()
    card = page.locator("article[data-run]").first
    for name in (*processes, "router"):
        row = card.locator(f'tr[data-process="{name}"]')
        expect(row).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    return card


def end(page: Page, card: Locator, made: Panel, preset: str) -> None:
    page.screenshot(path=SCREENSHOTS / f"{preset}.png", full_page=True)
    made.cli("down", "--all")
    expect(card).to_have_attribute("data-state", "stopped", timeout=WAIT_MS)


def shows_ranks(card: Locator, name: str, words: str, count: int) -> None:
    box = card.get_by_test_id("ranks")
    expect(box).to_be_visible()
    picture = card.locator(".pd-topology svg")
    expect(picture).to_have_attribute("aria-label", re.compile(rf"{name} Ready \([^)]*{words}"))
    box.locator("summary").click()
    rows = box.locator("tbody tr")
    expect(rows).to_have_count(count)
    for place in range(count):
        expect(rows.nth(place)).to_have_attribute("data-alive", "alive")
        expect(rows.nth(place).locator('[data-label="PID"]')).to_have_text(re.compile(r"^[0-9]+$"))


def test_a_prefill_on_two_ranks_is_deployed_drawn_and_profiled(made: Panel, page: Page) -> None:
    card = deploy(page, "parallel-tp2-tp1", ["prefill-0", "decode-0"])
    shows_ranks(card, "prefill-0", "heads 6.11", 2)
    run = made.run()
    card.get_by_role("button", name="Profile prefill-0").click()
    dialog = page.get_by_test_id("profile-dialog")
    dialog.get_by_role("button", name="Start").click()
    expect(dialog.get_by_test_id("profile-state")).to_have_attribute("data-state", "profiling")
    assert ask(run["router_url"] + "/generate", PROMPT)["meta_info"]["completion_tokens"] == 8
    dialog.get_by_role("button", name="Stop").click()
    expect(dialog.get_by_test_id("profile-state")).to_have_attribute("data-state", "done")
    expect(dialog.get_by_test_id("profile-files").get_by_role("link")).to_have_count(2)
    expect(dialog.get_by_test_id("profile-says")).to_contain_text("prefill step")
    expect(dialog.get_by_test_id("profile-parts")).to_contain_text("Exchange with other ranks")
    expect(dialog.get_by_test_id("profile-operators")).to_contain_text("exchange: sum")
    dialog.get_by_role("button", name="Rank 1", exact=True).click()
    expect(dialog.get_by_role("button", name="Rank 1", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(dialog.get_by_test_id("profile-steps")).to_contain_text("prefill step")
    with page.expect_download() as download:
        dialog.get_by_role("link", name=re.compile("Trace of rank 1")).click()
    assert download.value.suggested_filename.endswith("prefill-0-TP-1.trace.json.gz")
    dialog.screenshot(path=SCREENSHOTS / "profile.png")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    shown = made.cli("profile", run["id"], "decode-0", "--seconds", "0.2")
    assert "waiting for work" in shown and "TP-0.trace.json.gz" in shown
    page.locator("#pd-tab-observe-button").click()
    expect(page.locator('[data-section="ranks"]')).to_be_visible()
    expect(page.locator('[data-chart="rank-compute"] canvas').first).to_be_visible()
    page.locator("#pd-tab-deploy-button").click()
    end(page, card, made, "parallel-tp2-tp1")


@pytest.mark.slow
@pytest.mark.parametrize("preset", TOPOLOGIES)
def test_every_topology_is_deployed_by_its_preset(made: Panel, page: Page, preset: str) -> None:
    processes, drawn, words = TOPOLOGIES[preset]
    card = deploy(page, preset, processes)
    if drawn:
        shows_ranks(card, drawn, words, 2)
    url = made.run()["router_url"]
    if preset == "parallel-elastic-ep":
        rows = card.get_by_test_id("ranks").locator("tbody tr")
        os.kill(int(rows.nth(1).locator('[data-label="PID"]').inner_text()), signal.SIGKILL)
        expect(rows.nth(1)).to_have_attribute("data-alive", "gone")
        expect(rows.nth(0).locator('[data-label="Experts"]')).to_have_text(re.compile("^0.7$"))
        gone = re.compile(r"Rank 1 \(pid [0-9]+ on node 0\) was ended by SIGKILL\. The others go on")
        expect(card.locator('tr[data-process="unified-0"]')).to_contain_text(gone)
    if preset == "parallel-epd":
        parts = [{"type": "text", "text": "What is it? "}, {"type": "image_url", "image_url": {"url": picture()}}]
        body = {"model": "random:llava", "max_tokens": 4, "messages": [{"role": "user", "content": parts}]}
        assert ask(url + "/v1/chat/completions", body)["usage"]["completion_tokens"] == 4
        expect(card.locator(".pd-wire-image")).to_have_count(2)
    else:
        assert ask(url + "/generate", PROMPT)["meta_info"]["completion_tokens"] == 8
    if preset == "parallel-tp1-tp2":
        os.kill(int(card.get_by_test_id("ranks").locator('[data-label="PID"]').nth(2).inner_text()), signal.SIGKILL)
        ended = re.compile(r"last: exit code 1: Rank 1 \(pid [0-9]+ on node 0\) was ended by SIGKILL")
        expect(card.locator('tr[data-process="decode-0"]')).to_contain_text(ended)
    end(page, card, made, preset)


def picture() -> str:
    """Returns a red PNG of 8 x 8 as a data URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = (8).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    rows = (b"\x00" + b"\xff\x00\x00" * 8) * 8
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
