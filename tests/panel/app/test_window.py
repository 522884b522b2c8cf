"""`pdpanel --app` with real processes: the window shows the page; closing it ends the panel, and the run goes on."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_browser import debug_port, pretended_chromium
from pdpanel.engine.errors import PeerError
from pdpanel.panel.app.browser import Browser
from pdpanel.panel.app.window import show_window
from pdpanel.panel.config import PanelConfig, read_config
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.hosted.opening import open_panel
from pdpanel.panel.hosted.record import Wish, read_panel
from pdpanel.panel.runner.procfs import is_alive
from pdpanel.panel.runs import Runs
from playwright.sync_api import expect, sync_playwright

WAIT_S = 60.0
# Nothing waits until it is ready: that a run outlives the panel is seen while it starts, too.
DEPLOYMENT = {"model": "SmolLM2-135M-Instruct", "unified": {"count": 1}}

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def config(tmp_path: Path) -> PanelConfig:
    return read_config(state_dir=tmp_path / "state")


@pytest.fixture
def runs(config: PanelConfig) -> Iterator[Runs]:
    runs = Runs(config)
    yield runs
    for run in runs.list():
        runs.stop(run.id)


def start(config: PanelConfig, path: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "pdpanel.panel.cli", "--state-dir", str(config.state_dir), "--app"],
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def await_text(log: Path, text: str, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + WAIT_S
    while text not in (said := log.read_text()):
        assert process.poll() is None and time.monotonic() < end, said
        time.sleep(0.05)
    return said


def panels(config: PanelConfig) -> list[Path]:
    return list((config.state_dir / "panels").glob("*.json"))


def test_closing_the_window_ends_the_panel_and_no_run(tmp_path: Path, config: PanelConfig, runs: Runs) -> None:
    arguments = pretended_chromium(tmp_path / "bin")
    said = tmp_path / "notified"
    notify = tmp_path / "bin" / "notify-send"
    notify.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {said}\n')
    notify.chmod(0o755)
    log = tmp_path / "app.log"
    run = runs.start(parse_deployment(DEPLOYMENT))
    app = start(config, f"{tmp_path / 'bin'}:/usr/bin:/bin", log)
    try:
        await_text(log, "closing it ends the panel", app)
        (file,) = panels(config)
        record = read_panel(file)
        assert record is not None
        profile = config.state_dir / "app" / "profile"
        with sync_playwright() as playwright:
            browser = playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{debug_port(profile)}")
            (page,) = browser.contexts[0].pages
            expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_S * 1000)
            assert page.url.split("#")[0] == record.address
            page.wait_for_function("id => window.pdpanel.runs.some((run) => run.id === id)", arg=run.id)
            browser.new_browser_cdp_session().send("Browser.close")
        assert app.wait(WAIT_S) == 0
    finally:
        if app.poll() is None:
            app.kill()
            app.wait()
    given = arguments.read_text().splitlines()
    assert given[0].startswith(f"--app={record.address}?ticket=") and "--class=pdpanel" in given
    assert record.token not in arguments.read_text(), "every user of the host can read it"
    assert not is_alive(record.pid, record.start_ticks)
    assert panels(config) == []
    assert f"The panel has ended; 1 run goes on: {run.id}." in log.read_text()
    assert run.id in said.read_text(), "there is no terminal, so the desktop says it"
    assert runs.get(run.id).supervised


def test_without_a_browser_the_panel_is_served_and_says_so(tmp_path: Path, config: PanelConfig) -> None:
    (tmp_path / "none").mkdir()
    log = tmp_path / "app.log"
    app = start(config, str(tmp_path / "none"), log)
    try:
        said = await_text(log, "Ctrl+C ends the panel", app)
        (file,) = panels(config)
        record = read_panel(file)
        assert record is not None
        assert "install one, or open " + record.address in said
        assert record.token not in said, "nobody may read what is no terminal"
        shared = open_panel(config, Wish())
        assert shared.record == record and not shared.is_new
        app.terminate()
        assert app.wait(WAIT_S) == 0
        assert "another window uses the panel" in log.read_text()
        assert is_alive(record.pid, record.start_ticks)
        assert shared.close()
        assert not is_alive(record.pid, record.start_ticks)
    finally:
        if app.poll() is None:
            app.kill()
            app.wait()


def browser(tmp_path: Path, script: str) -> Browser:
    program = tmp_path / "chromium"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Browser(str(program))


def test_a_second_window_leaves_the_first_its_panel(tmp_path: Path, config: PanelConfig) -> None:
    shows = browser(tmp_path, "exit 21")
    folder = config.state_dir / "app"
    folder.mkdir(parents=True)
    with (folder / "window.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not show_window(shows, config, "http://127.0.0.1:1/")
    with pytest.raises(PeerError, match=r"ended with code 21"):
        show_window(shows, config, "http://127.0.0.1:1/")


def test_a_browser_that_does_not_come_up_is_one_sentence(tmp_path: Path, config: PanelConfig) -> None:
    with pytest.raises(PeerError, match=r"code 3: no display; see .*browser\.log"):
        show_window(browser(tmp_path, "echo no display; exit 3"), config, "http://127.0.0.1:1/")
    # A person who kills the window has closed it.
    assert show_window(browser(tmp_path, "kill -9 $$"), config, "http://127.0.0.1:1/")
    assert ((config.state_dir / "app").stat().st_mode & 0o777) == 0o700
