"""A real JupyterLab in Chromium: launch, deploy, a request, the plot moves inside the cell, stop, close."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from lab_page import LabPage
from pdpanel.panel.config import read_config
from pdpanel.panel.runs import Runs
from playwright.sync_api import Browser, expect

WAIT_MS = 30_000
SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
LINK = "link/prefill-0>decode-0/kv_bytes_per_s"

REQUEST = """
import json, urllib.request
text = "A key and a value travel together. " * 40
body = json.dumps({"text": text, "sampling_params": {"max_new_tokens": 4, "ignore_eos": True}}).encode()
request = urllib.request.Request(run.url + "/generate", body, {"Content-Type": "application/json"})
with urllib.request.urlopen(request, timeout=60) as answer:
    print("tokens:", json.load(answer)["meta_info"]["completion_tokens"])
"""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def runs(lab: Any) -> Iterator[Runs]:
    runs = Runs(read_config(state_dir=lab.state_dir))
    yield runs
    for run in runs.list():
        runs.stop(run.id)


def test_from_launch_to_close_in_one_notebook(lab: Any, chromium: Browser, smollm2: Any, runs: Runs) -> None:
    cells = [
        "from pdpanel.panel import launch\n\npanel = launch(height=640)",
        "run = panel.deploy(transport='tcp')",
        REQUEST,
        "panel.status()",
        "panel.stop('nothing-of-that-name')",
        "panel.stop()",
        "panel.close()",
    ]
    context = chromium.new_context(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto(lab.notebook("panel.ipynb", cells))
    notebook = LabPage(page)

    notebook.run(0)
    shown = page.frame_locator('iframe[title="pdpanel"]')
    expect(shown.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    (frame,) = [frame for frame in page.frames if frame.parent_frame is not None and frame.url.startswith("http")]
    assert urlsplit(frame.url).hostname == "localhost", "the name in the address bar, whose cookies come through"
    assert "ticket" not in frame.url and "token" not in frame.url

    assert "is ready: http://127.0.0.1:" in notebook.run(1)
    (run,) = runs.list()
    shown.locator("#pd-tab-observe-button").click()
    before = frame.evaluate("window.pdpanel.ticks")
    assert "tokens: 4" in notebook.run(2)
    frame.wait_for_function("before => window.pdpanel.ticks > before + 2", arg=before)
    frame.wait_for_function("key => window.pdpanel.rows.some((row) => row[1][key] > 0)", arg=LINK)
    # What is out of sight is not drawn.
    canvas = shown.locator('[data-chart="kv"] canvas').first
    canvas.scroll_into_view_if_needed()
    picture = canvas.evaluate("node => node.toDataURL()")
    frame.wait_for_function(
        "before => document.querySelector('[data-chart=\"kv\"] canvas').toDataURL() !== before",
        arg=picture,
        polling=100,
    )
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "notebook.png")

    assert re.search(rf"{run.id}.*ready", notebook.run(3), re.DOTALL)
    refused = notebook.run(4)
    assert "is not a run that goes on; give an id that .status() shows." in refused
    assert "Traceback" not in refused and "handle.py" not in refused
    assert re.search(rf"{run.id}.*stopped", notebook.run(5), re.DOTALL)
    expect(shown.get_by_test_id("live-chip")).to_be_visible()
    assert "The panel has ended." in notebook.run(6)
    assert [view.state for view in runs.list()] == ["stopped"]
    assert hosts <= {lab.host, urlsplit(frame.url).netloc, ""}
    context.close()


@pytest.mark.slow
def test_through_jupyter_server_proxy_and_in_a_tab(lab: Any, chromium: Browser) -> None:
    cells = [
        "from pdpanel.panel import launch\n\npanel = launch(root_path='/proxy/{port}')",
        "again = launch(root_path='/proxy/{port}')\nagain.close()",
        "panel.status()\npanel.close()",
    ]
    context = chromium.new_context(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto(lab.notebook("proxied.ipynb", cells))
    notebook = LabPage(page)
    assert "through jupyter-server-proxy" in notebook.run(0)
    shown = page.frame_locator('iframe[title="pdpanel"]')
    expect(shown.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    (frame,) = [frame for frame in page.frames if "/proxy/" in frame.url]
    assert frame.url.startswith(f"http://{lab.host}/proxy/")
    with context.expect_page() as opening:
        page.get_by_role("link", name="Open the panel in a tab").click()
    expect(opening.value.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    assert "ticket" not in opening.value.url
    opening.value.close()
    assert "The panel stays" in notebook.run(1)
    assert "The panel has ended." in notebook.run(2)
    assert hosts <= {lab.host, ""}
    context.close()
