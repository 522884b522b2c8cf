"""Which process a peer is: only what the kernel of the same boot and namespace says counts."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from pdpanel.engine.peer.identity import is_gone, own_process
from pdpanel.engine.peer.messages import ProcessId

replace = msgspec.structs.replace


def test_this_process_lives() -> None:
    ours = own_process()
    assert ours is not None and not is_gone(ours, ours)
    assert is_gone(replace(ours, started=ours.started + 1), ours), "the pid was used again"


def test_a_process_that_was_killed_is_gone_and_one_that_stands_still_is_not() -> None:
    ours = own_process()
    assert ours is not None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        theirs = replace(ours, pid=child.pid, started=int(stat[19]))
        assert not is_gone(theirs, ours)
        child.kill()
        deadline = time.monotonic() + 20
        while not is_gone(theirs, ours):  # a zombie: nobody has waited for it
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.kill()
        child.communicate()
    assert is_gone(theirs, ours)


@pytest.mark.parametrize("change", [{"boot": "another"}, {"namespace": 1}])
def test_nothing_is_known_of_other_hosts_and_containers(change: dict[str, object]) -> None:
    ours = own_process()
    assert ours is not None
    theirs = replace(ours, pid=2**22 - 1, **change)
    assert not is_gone(theirs, ours)
    assert not is_gone(theirs, None)


@pytest.mark.parametrize(
    ("stat", "gone"),
    [
        ("7 (a) b) S 1" + " 0" * 15 + " 4 0 500 0", False),
        ("7 (a) b) T 1" + " 0" * 15 + " 4 0 500 0", False),
        ("7 (a) b) Z 1" + " 0" * 15 + " 1 0 500 0", True),
        ("7 (a) b) Z 1" + " 0" * 15 + " 3 0 500 0", False),
        ("7 (a) b) S 1" + " 0" * 15 + " 4 0 501 0", True),
        ("", False),
        ("7 (cut", False),
    ],
    ids=["sleeps", "stopped", "zombie", "zombie with threads", "another process", "empty", "cut"],
)
def test_what_the_kernel_says_decides(tmp_path: Path, stat: str, gone: bool) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text(stat)
    process = ProcessId("b", 1, 7, 500)
    assert is_gone(process, process, tmp_path) is gone


def test_a_kernel_that_tells_nothing_gives_no_identity(tmp_path: Path) -> None:
    assert own_process(tmp_path) is None
