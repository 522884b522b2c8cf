"""`pdpanel --app`: the panel in a window of its own; closing the window ends the panel, and runs go on.

Opens a hosted panel and a browser window on it, waits for its end, and says what goes on. Where no browser has such
windows, the panel is served all the same and its address printed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ...engine.errors import PeerError
from ..config import PanelConfig, this_person
from ..hosted.opening import OpenPanel, open_panel
from ..hosted.record import Wish
from ..runner.journal import clean_line, tail_lines
from ..runner.lifecycle import FINAL
from ..runs import Runs
from .browser import BROWSERS, Browser, find_browser

__all__ = ["run_app", "show_window"]

_POLL_S = 0.1
_END_TIMEOUT_S = 10.0


def run_app(config: PanelConfig, port: int | None = None) -> None:
    """Shows the panel in a window, and returns when that is closed.

    Raises:
        ConfigError: the port or the state directory cannot be used.
        PeerError: the panel or the browser did not come up.
    """
    browser = find_browser()
    print("starting the panel ...", flush=True)
    opened = open_panel(config, Wish(port=port))
    with _ended_by_signal():
        try:
            if browser is None:
                _without_window(opened)
            elif not show_window(browser, config, opened.page_url()):
                _tell("The window is open already; closing it ends the panel.")
                return
        except KeyboardInterrupt:
            pass
        finally:
            ended = opened.close()
    _tell(_last_words(Runs(config), panel_ended=ended))


def _without_window(opened: OpenPanel) -> None:
    problem = f"No window: none of {', '.join(BROWSERS)} is on PATH"
    # Where a program shows the sentence, others can read it in the list of processes: there the address works once.
    url = f"{opened.record.address}?token={opened.record.token}" if _is_read() else opened.page_url()
    _tell(f"{problem}; install one, or open {url} in the browser that you have. Ctrl+C ends the panel.")
    while opened.is_open:
        time.sleep(_POLL_S)


def show_window(browser: Browser, config: PanelConfig, url: str) -> bool:
    """Opens a window and waits for its end.

    Args:
        browser: what shows it.
        config: where its profile is.
        url: works once, since other users see the commands of this one.

    Returns:
        False, at once, when another process has the window: a browser has one process for a profile.

    Raises:
        PeerError: the browser ended with an error.
    """
    folder = config.state_dir / "app"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    profile = browser.profile_dir(config.state_dir, Path(this_person().home))
    profile.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "window.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        is_first = _try_lock(lock)
        log = folder / "browser.log"
        with log.open("wb" if is_first else "ab") as output:
            process = subprocess.Popen(
                browser.command(url, profile), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        if not is_first:
            # It hands the address to the process that has the window.
            process.wait()
            return False
        print(f"the panel is in a window of {Path(browser.path).name}; closing it ends the panel", flush=True)
        _wait(process, log)
        return True
    finally:
        os.close(lock)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    if code > 0:
        said = clean_line(" ".join(tail_lines(log, 1))) or "it says nothing"
        remedy = f"see {log}, or start `pdpanel` without --app, which shows the panel in a tab"
        raise PeerError(f"The browser ended with code {code}: {said}; {remedy}.")


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP what Ctrl+C is while the context is entered, so that the window goes too."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _last_words(runs: Runs, *, panel_ended: bool) -> str:
    active = [view.id for view in runs.list() if view.state not in FINAL]
    used = "The window is closed; a notebook or another window uses the panel"
    panel = "The panel has ended" if panel_ended else used
    if not active:
        return f"{panel}; no run goes on."
    goes = "1 run goes on" if len(active) == 1 else f"{len(active)} runs go on"
    return f"{panel}; {goes}: {', '.join(active)}. `pdpanel down` ends it, `pdpanel --app` shows it again."


def _is_read() -> bool:
    return sys.stdout.isatty() or sys.stderr.isatty()


def _tell(text: str) -> None:
    """Says it in the terminal, and where there is none, as a notification of the desktop."""
    print(text, flush=True)
    notify = shutil.which("notify-send")
    if notify is None or _is_read():
        return
    subprocess.run(
        [notify, "--app-name=pdpanel", "--icon=pdpanel", "--", "pdpanel", text],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_END_TIMEOUT_S,
        check=False,
    )
