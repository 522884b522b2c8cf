"""The process that holds the NIXL agent: its death is a failed write, and it never outlives its worker."""

from __future__ import annotations

import logging
import signal
import threading
import time

import psutil
import pytest
from pdpanel.engine.transfer.api import Segment, TicketState
from transports import SIZE, Memory, Target, open_end, settle


def agent_of(process: psutil.Process) -> psutil.Process:
    (found,) = [child for child in process.children() if "pdpanel.engine.transfer.nixl_agent" in child.cmdline()]
    return found


def ended(process: psutil.Process) -> bool:
    """Waits for its end; a container's first process may leave it as a zombie."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        threading.Event().wait(0.01)
    return False


def test_the_death_of_the_agent_fails_writes_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The write under way is not quiet, later ones are; the worker goes on, and closing works."""
    own, target = Memory(), Target("nixl")
    endpoint = open_end("nixl")
    own.register_with(endpoint)
    link = endpoint.connect(target.info)
    settle(link.write([Segment(0, 0, SIZE)]), TicketState.DONE)
    assert endpoint.failure == ""
    with target.stopped(), caplog.at_level(logging.ERROR):
        under_way = link.write([Segment(0, 0, SIZE)])
        assert not under_way.wait(0.05)
        agent = agent_of(psutil.Process())
        agent.send_signal(signal.SIGSEGV)
        assert "signal 11" in settle(under_way, TicketState.FAILED).error and not under_way.quiesced
    later = settle(link.write([Segment(0, 0, 4096)]), TicketState.FAILED)
    assert later.quiesced and "has ended" in later.error
    assert "transport_broke" in caplog.text
    assert "signal 11" in endpoint.failure
    endpoint.close()
    target.kill()


def test_the_agent_ends_with_its_worker_however_that_ends() -> None:
    """Killed while the agent stands still, too: then the kernel's signal ends it."""
    for busy in (False, True):
        target = Target("nixl", 1 << 20)
        agent = agent_of(psutil.Process(target.process.pid))
        if busy:
            agent.suspend()
        target.kill()
        assert ended(agent)


def test_an_agent_that_stands_still_fails_the_write_within_its_limit() -> None:
    own, target = Memory(), Target("nixl")
    endpoint = open_end("nixl")
    own.register_with(endpoint)
    link = endpoint.connect(target.info)
    settle(link.write([Segment(0, 0, SIZE)]), TicketState.DONE)
    agent = agent_of(psutil.Process())
    agent.suspend()
    ticket = settle(link.write([Segment(0, 0, SIZE)]), TicketState.FAILED)
    assert "does not answer" in ticket.error and not ticket.quiesced
    agent.resume()
    settle(link.write([Segment(0, 0, SIZE)]), TicketState.DONE)
    endpoint.close()
    target.kill()
