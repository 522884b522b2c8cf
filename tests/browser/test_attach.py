"""The Attach form of a real panel: servers of the test are watched, and live on when the run is detached."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_workers import fake_deployment
from pd_http import free_port
from playwright.sync_api import Browser, Page, expect

WAIT_MS = 20_000


@pytest.fixture(scope="module")
def real_panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a panel over real runs."""
    state = tmp_path_factory.mktemp("attach-state")
    process = subprocess.Popen(
        [sys.executable, "-m", "pdpanel.panel.cli", "--port", str(free_port()), "--no-browser"],
        env=os.environ | {"PDPANEL_STATE_DIR": str(state), "PDPANEL_CONFIG_DIR": str(state / "config")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for line in stream:
                lines.put(line)
        lines.put("the end")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    said = []
    while not (found := re.search(r"panel at (http://\S+)", line := lines.get(timeout=60))):
        said.append(line)
        assert line != "the end", said
    yield found[1]
    process.terminate()
    process.wait(20)
    reader.join(10)


@pytest.fixture
def attach_page(chromium: Browser, real_panel: str, watched: Any) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    watched.watch(page)
    page.goto(real_panel)
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    yield page
    context.close()


def test_the_form_says_what_is_wrong_and_never_keeps_the_key(page: Page, watched: Any) -> None:
    page.get_by_text("Attach a running deployment").click()
    form = page.get_by_test_id("attach-form")
    button = form.get_by_role("button", name="Attach", exact=True)
    outcome = page.get_by_test_id("attach-outcome")
    form.get_by_label("Router URL").fill("http://169.254.169.254/latest")
    form.get_by_label("API key").fill("the-key")
    button.click()
    expect(outcome).to_contain_text("link-local")
    form.get_by_label("Router URL").fill("http://me:secret@127.0.0.1:1")
    button.click()
    expect(outcome).to_contain_text("holds credentials")
    expect(outcome).not_to_contain_text("secret")
    form.get_by_label("Router URL").fill("")
    form.get_by_label("Prefill URLs").fill("10.0.0.1:30000\n\n 10.0.0.2:30000 ")
    button.click()
    expect(outcome).to_contain_text("Watching as run demo-")
    expect(form.get_by_label("API key")).to_have_value("")
    run = page.evaluate("window.pdpanel.selected")
    card = page.locator(f'[data-run="{run}"]')
    expect(card.get_by_test_id("stop-all")).to_be_hidden()
    expect(card.get_by_role("button", name=re.compile("Detach")).first).to_be_visible()
    assert "the-key" not in page.content()
    watched.complaints[:] = [text for text in watched.complaints if "status of 400" not in text]


@pytest.mark.slow
def test_a_deployment_is_attached_watched_and_detached(attach_page: Page, tmp_path: Path) -> None:
    page = attach_page
    page.get_by_text("Attach a running deployment").click()
    form = page.get_by_test_id("attach-form")
    button = form.get_by_role("button", name="Attach", exact=True)
    outcome = page.get_by_test_id("attach-outcome")

    button.click()
    expect(outcome).to_contain_text("names nothing")

    log = tmp_path / "prefill_NODE0.log"
    log.write_text("<img src=x onerror='window.hacked=1'> the log of another host\n")
    with fake_deployment() as (prefill, decode, router):
        prefill.answers["/server_info"]["model_path"] = "<script>window.hacked=1</script>"
        prefill.answers["/v1/models"] = {}
        form.get_by_label("Router URL").fill(router.url)
        form.get_by_label("Log files").fill(str(log))
        form.get_by_label("API key").fill("the-key")
        button.click()
        expect(outcome).to_contain_text("Watching as run attached-")
        expect(form.get_by_label("API key")).to_have_value("")
        run = page.evaluate("window.pdpanel.selected")
        card = page.locator(f'[data-run="{run}"]')
        for name in ("prefill-0", "decode-0", "router"):
            expect(card.locator(f'tr[data-process="{name}"]')).to_have_attribute("data-state", "ready")
        assert prefill.headers["Authorization"] == "Bearer the-key"
        page.wait_for_function("window.pdpanel.ticks >= 2")

        decode.answers["/health"] = 503
        expect(card.locator('tr[data-process="decode-0"]')).to_have_attribute("data-state", "not answering")

        page.get_by_role("tab", name="Logs").click()
        page.get_by_test_id("log-process").select_option("prefill-0")
        expect(page.get_by_test_id("log")).to_contain_text("the log of another host")
        page.get_by_role("tab", name="Deploy").click()

        expect(card.get_by_role("button", name="Stop all")).to_be_hidden()
        card.get_by_role("button", name=re.compile("Detach")).first.click()
        page.wait_for_function("(id) => window.pdpanel.runs.find((run) => run.id === id).state === 'stopped'", arg=run)
        with urllib.request.urlopen(f"{prefill.url}/health", timeout=10) as answer:
            assert answer.status == 200
    assert page.evaluate("window.hacked") is None
