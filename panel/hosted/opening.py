"""Opens a hosted panel: the one that runs on this state directory and fits, else a fresh process.

Imports no Gradio: that is the other process's. Blocking; called by the notebook and by the desktop window.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from ...engine.errors import PeerError
from ..config import PanelConfig
from ..file_lock import locked
from ..runner.journal import tail_lines
from ..runner.procfs import is_alive
from ..state_dir import claim_state_dir
from .lease import Lease, is_shared
from .record import PanelFiles, PanelRecord, Wish, files_in, read_panel

__all__ = ["OpenPanel", "open_panel"]

_START_TIMEOUT_S = 90.0
_END_TIMEOUT_S = 15.0
_ANSWER_TIMEOUT_S = 10.0
_POLL_S = 0.05


class OpenPanel:
    """A hosted panel with this process's lease on it.

    Args:
        record: where it answers.
        lease: this process's.
        files: the panel's own.
        is_new: this call has started it.
    """

    def __init__(self, record: PanelRecord, lease: Lease, files: PanelFiles, *, is_new: bool) -> None:
        self.record = record
        self.is_new = is_new
        self._lease = lease
        self._files = files

    @property
    def is_open(self) -> bool:
        """True while it is leased and its process lives."""
        return self._lease.held and is_alive(self.record.pid, self.record.start_ticks)

    def page_url(self) -> str:
        """Returns an address that opens the page once, within ten minutes.

        Raises:
            PeerError: the panel does not answer.
        """
        return f"{self.record.address}?ticket={_ticket(self.record)}"

    def close(self) -> bool:
        """Gives the lease back; returns True when the panel has ended, False when others use it."""
        self._lease.release()
        deadline = time.monotonic() + _END_TIMEOUT_S
        while is_alive(self.record.pid, self.record.start_ticks):
            if time.monotonic() > deadline or is_shared(self._files.lease):
                return False
            time.sleep(_POLL_S)
        return True


def open_panel(config: PanelConfig, wish: Wish) -> OpenPanel:
    """Returns a panel that answers as wished, on the runs of `config`.

    Raises:
        ConfigError: the state directory cannot be used, or the wish makes no sense.
        PeerError: the panel did not come up.
    """
    claim_state_dir(config.state_dir)
    folder, known = files_in(config.state_dir)
    with locked(folder / "opening.lock"):
        for files in known:
            found = _reuse(files, wish)
            if found is not None:
                return found
        return _start(config, wish)


def _reuse(files: PanelFiles, wish: Wish) -> OpenPanel | None:
    record = read_panel(files.record)
    lives = record is not None and is_alive(record.pid, record.start_ticks)
    if record is None or not lives:
        # Killed: whoever starts one does it below the lock that is held here, so that this is no newcomer's.
        files.remove()
        return None
    if not record.fits(wish):
        return None
    lease = Lease.take(files.lease)
    if lease is None:
        return None
    try:
        _ticket(record)
    except PeerError:
        lease.release()
        return None
    return OpenPanel(record, lease, files, is_new=False)


def _start(config: PanelConfig, wish: Wish) -> OpenPanel:
    name = secrets.token_hex(4)
    files = PanelFiles.of(config.state_dir, name)
    lease = Lease.take(files.lease, new=True)
    assert lease is not None  # Nobody else knows the name.
    folders = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}
    given = {"name": name, "config": folders, "wish": asdict(wish)}
    log = os.open(files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "pdpanel.panel.hosted"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            # What interrupts the notebook's cell or the terminal is not meant for the panel.
            start_new_session=True,
        )
    finally:
        os.close(log)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(json.dumps(given).encode())
    deadline = time.monotonic() + _START_TIMEOUT_S
    try:
        while (record := read_panel(files.record)) is None:
            if process.poll() is not None:
                said = " ".join(tail_lines(files.log, 1))
                raise PeerError(f"The panel did not come up: {said or f'it ended with code {process.returncode}'}")
            if time.monotonic() > deadline:
                raise PeerError(f"The panel did not come up within {_START_TIMEOUT_S:.0f} s; see {files.log}.")
            time.sleep(_POLL_S)
    except BaseException:
        process.kill()
        process.wait()
        lease.release()
        files.remove()
        raise
    _collect(process)
    return OpenPanel(record, lease, files, is_new=True)


def _collect(process: subprocess.Popen[bytes]) -> None:
    """Waits for the process in a thread, so that it never stays behind as a zombie."""
    threading.Thread(target=process.wait, name=f"panel {process.pid}", daemon=True).start()


def _ask(record: PanelRecord, method: str, path: str) -> object:
    request = urllib.request.Request(
        f"http://127.0.0.1:{record.port}{path}",
        method=method,
        data=b"{}" if method == "POST" else None,
        headers={"Authorization": f"Bearer {record.token}", "Content-Type": "application/json"},
    )
    # No proxy of the environment lies between two processes of one host.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_ANSWER_TIMEOUT_S) as answer:
            return json.load(answer)
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise PeerError(f"The panel at {record.address} does not answer: {reason}.") from None


def _ticket(record: PanelRecord) -> str:
    answer = _ask(record, "POST", "/api/tickets")
    ticket = answer.get("ticket") if isinstance(answer, dict) else None
    if not isinstance(ticket, str):
        raise PeerError(f"What answers at {urlsplit(record.address).netloc} is not this panel.")
    return ticket
