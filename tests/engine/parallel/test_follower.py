"""How a rank other than the first ends, with a pretended first rank."""

from __future__ import annotations

import socket

import pytest
from pdpanel.engine.config import ServerConfig, read_environment
from pdpanel.engine.parallel.follower import Follower
from pdpanel.engine.parallel.frames import FrameSocket
from pdpanel.engine.parallel.orders import Stop
from torch._C._distributed_c10d import HashStore


@pytest.mark.parametrize(
    ("stop", "code", "words"), [(Stop(), 0, []), (Stop("It fell."), 1, ["failed the worker ended: It fell."])]
)
def test_it_ends_as_its_worker_does(stop: Stop, code: int, words: list[str]) -> None:
    """What started a node above 0 starts it again when the worker failed, and not when it was told to end."""
    here, there = socket.socketpair()
    said: list[str] = []
    follower = Follower(1, ServerConfig("m"), read_environment({}), HashStore(), FrameSocket(here), said.append)
    leader = FrameSocket(there)
    leader.send(stop)
    assert (follower.run(), said) == (code, words)
    leader.close()
