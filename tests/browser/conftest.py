"""Fixtures of the browser tests: a panel process, Chromium, and pages that must stay free of errors."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pd_http import free_port
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    # Names that a hostile page could have; nothing else is looked up.
    "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP rebind.test 127.0.0.1",
]
SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
WAIT_MS = 20_000


@dataclass
class PanelProcess:
    """One panel process and how to talk to it without a browser."""

    folder: Path
    port: int
    token: str = "browser-test-token"
    script: str = "panel_process.py"
    more: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None
    output: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def login_url(self) -> str:
        return f"{self.url}?token={self.token}"

    def start(self) -> None:
        """Starts the process and waits until it has printed its URL."""
        script = Path(__file__).with_name(self.script)
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(self.folder), str(self.port), self.token, *self.more],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: queue.Queue[str | None] = queue.Queue()

        def read() -> None:
            assert self.process is not None and self.process.stdout is not None
            with self.process.stdout as stream:
                for line in stream:
                    self.output.append(line)
                    lines.put(line)
            lines.put(None)

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        while "panel at" not in (line := lines.get(timeout=50) or "the end"):
            assert line != "the end", "".join(self.output)

    def stop(self) -> None:
        """Ends the process."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(20)
        self.reader.join(10)

    def kill(self) -> None:
        """Ends the process without warning."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)
        self.reader.join(10)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Returns the JSON answer to a request of an API client."""
        request = urllib.request.Request(
            self.url.rstrip("/") + path,
            method=method,
            data=None if method == "GET" else json.dumps(body or {}).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def deploy(self, prefill: int = 1, decode: int = 1, mode: str = "pd") -> str:
        """Starts a simulated run and returns its id."""
        form = {"mode": mode, "model": "SmolLM2-135M-Instruct", "prefill": prefill, "decode": decode}
        return self.ask("POST", "/api/runs", form)["run"]

    def run(self, run_id: str) -> Any:
        """Returns one run as the API tells it."""
        return next(run for run in self.ask("GET", "/api/runs")["runs"] if run["id"] == run_id)


@pytest.fixture(scope="session")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PanelProcess]:
    process = PanelProcess(tmp_path_factory.mktemp("panel"), free_port())
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium for one module: while Playwright lives, no other test of the session could call asyncio.run."""
    # A loaded machine takes its time; what never comes is found all the same.
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """What a test's pages did that it may care about."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def watch(self, page: Page) -> None:
        """Notes complaints in the console, exceptions, and the host of each request."""
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


OpenPage = Callable[..., Page]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def _sign_in(context: BrowserContext, process: PanelProcess, watched: Watched) -> Page:
    context.set_default_timeout(WAIT_MS)
    return _live(context.new_page(), process, watched)


def _live(page: Page, process: PanelProcess, watched: Watched) -> Page:
    watched.watch(page)
    page.goto(process.login_url)
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    return page


@pytest.fixture
def open_page(chromium: Browser, panel: PanelProcess, watched: Watched) -> Iterator[OpenPage]:
    """Returns a function that opens a panel in a browser profile of its own and waits until it is live."""
    contexts: list[BrowserContext] = []

    def open_(width: int = 1440, height: int = 900, scheme: str = "light", process: PanelProcess = panel) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # pyright: ignore[reportArgumentType]
            reduced_motion="reduce",
        )
        contexts.append(context)
        return _sign_in(context, process, watched)

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    """One browser profile for most tests: its cache spares each of them the download of the page."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    yield context
    context.close()


@pytest.fixture
def open_view(profile: BrowserContext, panel: PanelProcess, watched: Watched) -> Iterator[OpenPage]:
    """Returns a function that opens one more live page of that profile, of any size and scheme.

    Afterwards the profile remembers nothing of what was chosen in its pages.
    """
    pages: list[Page] = []

    def open_(width: int = 1440, height: int = 900, scheme: str = "light") -> Page:
        profile.set_default_timeout(WAIT_MS)
        page = profile.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # pyright: ignore[reportArgumentType]
        return _live(page, panel, watched)

    yield open_
    for page in pages:
        page.evaluate("() => localStorage.clear()")
        page.close()


@pytest.fixture
def page(profile: BrowserContext, watched: Watched, panel: PanelProcess) -> Iterator[Page]:
    """A live panel whose console stays clean and that asks no other host."""
    page = _sign_in(profile, panel, watched)
    yield page
    page.close()
    assert watched.complaints == []
    assert watched.hosts <= {f"127.0.0.1:{panel.port}", ""}


@pytest.fixture(scope="module")
def opened(profile: BrowserContext, panel: PanelProcess) -> Iterator[tuple[Page, Watched]]:
    """One live page for a whole module, and what it did: for what lives in the page and not in its loading."""
    watched = Watched()
    page = _sign_in(profile, panel, watched)
    yield page, watched
    page.close()


@pytest.fixture
def shared_page(opened: tuple[Page, Watched]) -> Iterator[Page]:
    """That page at its first tab and without messages; its console stays clean."""
    page, watched = opened
    page.evaluate("() => { location.hash = ''; }")
    expect(page.get_by_role("tab", name="Deploy")).to_have_attribute("aria-selected", "true")
    for _ in page.get_by_test_id("toast").all():
        page.get_by_role("button", name="Dismiss message").first.click()
    yield page
    assert watched.complaints == []


@pytest.fixture
def run_id(panel: PanelProcess) -> Iterator[str]:
    """A simulated run of one prefill and two decode workers that is stopped afterwards."""
    run = panel.deploy(1, 2)
    yield run
    panel.ask("POST", f"/api/runs/{run}/stop")
