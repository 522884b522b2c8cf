"""The panel process of a benchmark: started, watched by CPU and memory, ended. Blocking."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from ...engine.errors import PeerError
from ...engine.net import free_port

__all__ = ["ServedPanel", "cpu_percents", "serving"]

_START_S = 120.0
_STOP_S = 10.0


class ServedPanel:
    """A panel that answers.

    Attributes:
        pid: of its process.
        url: with its token.
        origin: without.
        token: of the URL.
    """

    def __init__(self, folder: Path, pid: int, port: int, token: str) -> None:
        self.pid = pid
        self.token = token
        self.origin = f"http://127.0.0.1:{port}"
        self.url = f"{self.origin}/?token={token}"
        self._flag = folder / "load"

    def load(self, *, on: bool) -> None:
        """Lets the made-up runs be there, or not."""
        if on:
            self._flag.touch()
        else:
            self._flag.unlink(missing_ok=True)

    def rss_mb(self) -> float:
        """Returns its resident memory."""
        return psutil.Process(self.pid).memory_info().rss / 1e6


def cpu_percents(pids: list[int], seconds: float, rounds: int) -> list[float]:
    """Returns what the processes took together of one core, in each of several stretches; those that end are left."""
    found: list[float] = []
    for _ in range(rounds):
        before = {pid: _cpu_s(pid) for pid in pids}
        began = time.monotonic()
        time.sleep(seconds)
        used = sum(max(0.0, _cpu_s(pid) - before[pid]) for pid in pids)
        found.append(100 * used / (time.monotonic() - began))
    return found


def _cpu_s(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


@contextmanager
def serving(folder: Path, processes: int, nics: int) -> Iterator[ServedPanel]:
    """Starts a panel over a made-up run, and ends it with the block.

    Raises:
        PeerError: it does not come up.
    """
    port = free_port("127.0.0.1")
    token = secrets.token_urlsafe(16)
    said = folder / "panel.log"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pdpanel.panel.bench.panel_source"),
                *(str(folder), str(port), token, str(processes), str(nics)),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + _START_S
        while "panel at" not in said.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                last = " ".join(said.read_text(errors="replace").splitlines()[-1:])
                raise PeerError(f"The panel did not come up: {last or 'it is silent'}.")
            time.sleep(0.05)
        yield ServedPanel(folder, process.pid, port, token)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
