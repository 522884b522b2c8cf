"""How writes are shared out to queues and threads; no transport is in the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.transfer.api import Segment, TicketState
from pdpanel.engine.transfer.write_pool import Write, WritePool
from pdpanel.engine.transfer.write_queue import WriteQueue


class Wire:
    """A transport whose writes block while their peer is stopped."""

    def __init__(self, queues: int, threads: int) -> None:
        self.pool = WritePool("wire", queues=queues, threads=threads)
        self.began: list[tuple[str, int]] = []
        self.links: list[WriteQueue] = []
        self._lock = threading.Lock()
        self._open: dict[str, threading.Event] = {}

    def link(self, name: str, *, stopped: bool = False, limit: int = 4096) -> WriteQueue:
        gate = self._open[name] = threading.Event()
        if not stopped:
            gate.set()

        def execute(write: Write) -> None:
            with self._lock:
                self.began.append((name, write.segments[0].source))
            assert gate.wait(20)
            write.ticket.done()

        self.links.append(WriteQueue(self.pool, name, execute, limit))
        return self.links[-1]

    def resume(self, name: str) -> None:
        self._open[name].set()

    def close(self) -> None:
        for name in self._open:
            self.resume(name)
        for link in self.links:
            link.close()
        self.pool.close()


@pytest.fixture
def wires() -> Iterator[list[Wire]]:
    made: list[Wire] = []
    yield made
    for wire in made:
        wire.close()


def write(number: int) -> list[Segment]:
    return [Segment(number, 0, 1)]


def begun(wire: Wire, count: int) -> None:
    deadline = time.monotonic() + 20
    while len(wire.began) < count:
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


def test_one_queue_serves_first_come_first_served(wires: list[Wire]) -> None:
    wire = Wire(1, 1)
    wires.append(wire)
    first, second, third = wire.link("a", stopped=True), wire.link("b"), wire.link("c")
    first.put(write(0))
    begun(wire, 1)
    tickets = [link.put(write(number)) for number, link in enumerate((third, first, second, third, first), 1)]
    assert all(ticket.state is TicketState.PENDING for ticket in tickets)
    wire.resume("a")
    assert all(ticket.wait(20) for ticket in tickets)
    assert wire.began == [("a", 0), ("c", 1), ("a", 2), ("b", 3), ("c", 4), ("a", 5)]


def test_a_stopped_peer_keeps_one_thread_of_its_queue_and_no_other_queue(wires: list[Wire]) -> None:
    wire = Wire(2, 4)
    wires.append(wire)
    stopped, *others = (wire.link(str(number), stopped=not number) for number in range(5))
    stuck = [stopped.put(write(0)) for _ in range(3)]
    begun(wire, 1)
    for link in others:
        assert link.put(write(1)).wait(20)
    assert all(ticket.state is TicketState.PENDING for ticket in stuck)
    assert sum(name == "0" for name, _ in wire.began) == 1, "its own writes run one at a time"


def test_links_are_shared_out_evenly_and_places_of_closed_ones_are_given_again(wires: list[Wire]) -> None:
    wire = Wire(3, 3)
    wires.append(wire)
    stopped = [wire.link(f"s{number}", stopped=True) for number in range(2)]
    for link in stopped:
        link.put(write(0))
    begun(wire, 2)
    for number in range(6):
        free = wire.link(f"f{number}")
        assert free.put(write(0)).wait(20), "it shares no queue with a stopped one"
        free.close()


def test_threads_start_when_they_are_needed_and_never_more_than_allowed(wires: list[Wire]) -> None:
    before = threading.active_count()
    wire = Wire(2, 3)
    wires.append(wire)
    assert threading.active_count() == before
    links = [wire.link(str(number), stopped=True) for number in range(8)]
    for link in links:
        link.put(write(0))
    begun(wire, 3)
    assert threading.active_count() == before + 3
    for number in range(8):
        wire.resume(str(number))
    begun(wire, 8)
    wire.close()
    wires.clear()
    assert threading.active_count() == before


def test_a_full_queue_refuses_and_says_so(wires: list[Wire]) -> None:
    wire = Wire(1, 1)
    wires.append(wire)
    link = wire.link("a", stopped=True, limit=2)
    link.put(write(0))
    begun(wire, 1)
    waiting = [link.put(write(number)) for number in (1, 2)]
    refused = link.put(write(3))
    assert refused.state is TicketState.FAILED and refused.quiesced
    assert refused.error == "2 writes to this peer wait already"
    wire.resume("a")
    assert all(ticket.wait(20) and ticket.state is TicketState.DONE for ticket in waiting)
    assert link.put(write(4)).wait(20)


def test_what_a_broken_transport_does_is_a_failed_ticket(wires: list[Wire], caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(1, 1)
    wires.append(wire)

    def broken(_: Write) -> None:
        raise RuntimeError("a bug")

    link = WriteQueue(wire.pool, "broken", broken)
    ticket = link.put(write(0))
    assert ticket.wait(20) and "a bug" in ticket.error and not ticket.quiesced
    link.close()
    assert wire.link("next").put(write(1)).wait(20)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.sampled_from([(1, 1), (1, 3), (2, 2), (2, 5), (4, 4)]),
    steps=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=40),
)
def test_every_ticket_is_settled_in_the_order_of_its_link(
    shape: tuple[int, int], steps: list[tuple[int, bool]]
) -> None:
    """Whatever is written and closed in whatever order."""
    wire = Wire(*shape)
    links = [wire.link(str(number)) for number in range(5)]
    settled: dict[int, list[int]] = {number: [] for number in range(5)}
    tickets = []
    for index, (number, closes) in enumerate(steps):
        if closes and index % 5 == 0:
            links[number].close()
        ticket = links[number].put(write(index))
        if not links[number].closed:
            ticket.add_done_callback(lambda _, number=number, index=index: settled[number].append(index))
        tickets.append(ticket)
    for ticket in tickets:
        assert ticket.wait(20)
        assert ticket.state is TicketState.DONE or ticket.quiesced
    wire.close()
    assert all(indices == sorted(indices) for indices in settled.values())
