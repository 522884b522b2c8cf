"""Hosted panels with real processes: started once, shared, ended with their last user; one start for most of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from pdpanel.engine.errors import PeerError
from pdpanel.panel.config import PanelConfig, read_config
from pdpanel.panel.hosted.opening import open_panel
from pdpanel.panel.hosted.record import PanelFiles, PanelRecord, Wish, files_in, read_panel
from pdpanel.panel.runner.procfs import is_alive

OPEN = """
import sys
from pathlib import Path
from pdpanel.panel.config import read_config
from pdpanel.panel.hosted.opening import open_panel
from pdpanel.panel.hosted.record import Wish
opened = open_panel(read_config(state_dir=Path(sys.argv[1])), Wish())
assert "gradio" not in sys.modules and "torch" not in sys.modules and "fastapi" not in sys.modules
print(opened.record.pid, opened.is_new, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def config(tmp_path: Path) -> PanelConfig:
    return read_config(state_dir=tmp_path)


def other_user(config: PanelConfig) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(config.state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def leave_a_dead_one(config: PanelConfig) -> None:
    """Writes what a panel that was killed leaves: its process number belongs to somebody else by now."""
    files_in(config.state_dir)
    files = PanelFiles.of(config.state_dir, "dead0000")
    files.lease.touch()
    files.write(PanelRecord(os.getpid(), 1, 1, "t", "http://127.0.0.1:1/", "", (), ()))


def await_end(pid: int, ticks: int) -> None:
    deadline = time.monotonic() + 30
    while is_alive(pid, ticks):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_panel_for_all_until_the_last_has_gone(config: PanelConfig) -> None:
    leave_a_dead_one(config)
    other = other_user(config)
    assert other.stdin is not None and other.stdout is not None
    with other.stdin, other.stdout:
        assert other.stdout.readline().split()[1] == "True"
        mine = open_panel(config, Wish())
        record = mine.record
        assert not mine.is_new and mine.is_open
        (log,) = (config.state_dir / "panels").glob("*.log")
        assert not (config.state_dir / "panels" / "dead0000.lease").exists()
        assert record.token not in log.read_text()
        assert record.token.encode() not in Path(f"/proc/{record.pid}/cmdline").read_bytes()
        # The address works once, and gives a cookie.
        url = mine.page_url()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor())
        with opener.open(url, timeout=20) as answer:
            assert answer.status == 200 and answer.url == record.address
        assert not mine.close(), "the other one uses it"
        assert is_alive(record.pid, record.start_ticks) and not mine.is_open
        other.kill()
        other.wait(20)
    await_end(record.pid, record.start_ticks)
    assert sorted(path.suffix for path in (config.state_dir / "panels").iterdir()) == [".lock"]


@pytest.mark.slow
def test_a_killed_panel_is_replaced(config: PanelConfig) -> None:
    first = open_panel(config, Wish())
    os.kill(first.record.pid, signal.SIGKILL)
    await_end(first.record.pid, first.record.start_ticks)
    with pytest.raises(PeerError, match="does not answer"):
        first.page_url()
    second = open_panel(config, Wish())
    assert second.is_new and second.record.pid != first.record.pid
    assert first.close(), "its panel is not there any more"
    assert second.close()


def test_a_taken_port_is_one_sentence(config: PanelConfig) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PeerError, match=rf"did not come up: --port = {port}: is taken by another process"):
            open_panel(config, Wish(port=port))
    files = list((config.state_dir / "panels").iterdir())
    assert [path.suffix for path in files] == [".lock"]
    assert all(read_panel(path) is None for path in files)
