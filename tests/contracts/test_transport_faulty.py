"""The transport that goes wrong on purpose: each fault does what it says, and keeps the rules of all transports."""

from __future__ import annotations

import threading
import time
import zlib

import pytest
from pdpanel.engine.transfer.api import Endpoint, Link, Segment, TicketState
from pdpanel.engine.transfer.faults import Fault, FaultPlan
from transports import Memory, Target, open_end, settle

SIZE = 1 << 20
WRITE = [Segment(0, 0, SIZE // 2), Segment(SIZE // 2, SIZE // 2, SIZE // 2)]


class Pair:
    """A faulty endpoint here with a link to a process."""

    def __init__(self, target: Target, *faults: Fault, delay_s: float = 0.2) -> None:
        self.target = target
        self.memory = Memory(SIZE)
        self.endpoint: Endpoint = open_end("faulty", FaultPlan(delay_s=delay_s, script=faults))
        self.memory.register_with(self.endpoint)
        self.link: Link = self.endpoint.connect(target.info)

    def arrived(self) -> int:
        """Returns the length of what has arrived: 0, half, or all of it."""
        data = self.memory.bytes.tobytes()
        expected = [data[:size] + bytes(SIZE - size) for size in (0, SIZE // 2, SIZE)]
        return [zlib.crc32(bytes_) for bytes_ in expected].index(self.target.checksum(0, SIZE))

    def has_all(self) -> bool:
        """Returns whether everything has arrived; may be asked while it does."""
        return self.target.checksum(0, SIZE) == zlib.crc32(self.memory.bytes.data)


@pytest.fixture(scope="module")
def plain() -> Target:
    return Target("tcp", SIZE)


@pytest.fixture(scope="module", autouse=True)
def ending(plain: Target):
    yield
    plain.kill()


@pytest.mark.parametrize(
    ("fault", "state", "quiesced", "arrived"),
    [
        (Fault.NONE, TicketState.DONE, True, 2),
        (Fault.DELAY, TicketState.DONE, True, 2),
        (Fault.DUPLICATE, TicketState.DONE, True, 2),
        (Fault.DROP, TicketState.FAILED, False, 0),
        (Fault.FAIL, TicketState.FAILED, True, 0),
        (Fault.BREAK, TicketState.FAILED, True, 1),
        (Fault.VANISH, TicketState.FAILED, False, 1),
    ],
)
def test_each_fault_does_what_it_says(
    plain: Target, fault: Fault, state: TicketState, quiesced: bool, arrived: int
) -> None:
    plain.clear()
    pair = Pair(plain, fault)
    ticket = settle(pair.link.write(WRITE), state)
    assert ticket.quiesced is quiesced
    assert pair.arrived() == arrived
    settle(pair.link.write(WRITE), TicketState.DONE)
    pair.endpoint.close()


def test_a_late_write_comes_after_its_failure_and_not_after_the_link_is_closed(plain: Target) -> None:
    plain.clear()
    pair = Pair(plain, Fault.LATE)
    assert not settle(pair.link.write(WRITE), TicketState.FAILED).quiesced
    deadline = time.monotonic() + 20
    while not pair.has_all():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    pair.endpoint.close()
    plain.clear()
    again = Pair(plain, Fault.LATE, delay_s=3600)
    settle(again.link.write(WRITE), TicketState.FAILED)
    again.endpoint.close()
    assert again.arrived() == 0


def test_closing_ends_a_wait_and_all_threads(plain: Target) -> None:
    before = set(threading.enumerate())
    pair = Pair(plain, Fault.DELAY, delay_s=3600)
    waiting = pair.link.write(WRITE)
    behind = pair.link.write(WRITE)
    pair.endpoint.close()
    assert waiting.state is TicketState.FAILED and waiting.quiesced
    assert behind.state is TicketState.FAILED and behind.quiesced
    assert set(threading.enumerate()) == before
