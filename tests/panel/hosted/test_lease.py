from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pdpanel.panel.hosted.lease import Lease, is_shared, take_unused

HOLD = """
import sys
from pathlib import Path
from pdpanel.panel.hosted.lease import Lease
lease = Lease.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lease_is_shared_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    assert Lease.take(path) is None
    first = Lease.take(path, new=True)
    second = Lease.take(path)
    assert first is not None and second is not None
    look = os.open(path, os.O_RDWR)
    first.release()
    first.release()
    assert is_shared(path) and not take_unused(look)
    second.release()
    assert not is_shared(path)
    assert take_unused(look)
    assert Lease.take(path) is None, "its panel is about to end"
    assert not is_shared(path)
    os.close(look)


def test_whatever_ends_the_holder_ends_the_lease(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    path.touch()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None and holder.stdout is not None
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == "held\n"
        assert is_shared(path)
        holder.kill()
        holder.wait(20)
    assert not is_shared(path)


def test_a_child_does_not_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    lease = Lease.take(path, new=True)
    assert lease is not None
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    lease.release()
    assert not is_shared(path)
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(20) == 0
