"""What every transport does between two processes when nothing is wrong, and what it refuses."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
from pdpanel.engine.errors import TransferError
from pdpanel.engine.transfer.api import Endpoint, EndpointInfo, Segment, TicketState
from transports import SIZE, Memory, Target, open_end, settle


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.01)


def test_bytes_arrive_where_the_plan_says(endpoint: Endpoint, target: Target, memory: Memory) -> None:
    """Done means: these bytes are in the peer's memory, all of them, at these places and at no other."""
    segments = [Segment(0, 4 << 20, 1 << 20), Segment(3 << 20, 0, 2 << 20), Segment(6 << 20, 7 << 20, 999)]
    ticket = settle(endpoint.connect(target.info).write(segments), TicketState.DONE)
    assert ticket.quiesced and ticket.bytes == (3 << 20) + 999 and ticket.seconds > 0
    for segment in segments:
        expected = zlib.crc32(memory.bytes[segment.source : segment.source + segment.length].tobytes())
        assert target.checksum(segment.target, segment.target + segment.length) == expected
    assert target.checksum(5 << 20, 7 << 20) == zlib.crc32(bytes(2 << 20))


def test_thousands_of_small_segments_arrive_exactly(endpoint: Endpoint, target: Target, memory: Memory) -> None:
    """A write may have any number of segments, empty ones among them."""
    expected = np.zeros(SIZE, np.uint8)
    random = np.random.default_rng(3)
    segments, at = [], 0
    for length in random.integers(0, 3000, 3000).tolist():
        source = int(random.integers(0, SIZE - length))
        segments.append(Segment(source, at, length))
        expected[at : at + length] = memory.bytes[source : source + length]
        at += length + int(random.integers(0, 99))
    settle(endpoint.connect(target.info).write(segments), TicketState.DONE)
    assert target.checksum() == zlib.crc32(expected.data)


def test_the_whole_region_and_nothing_at_all(endpoint: Endpoint, target: Target, memory: Memory) -> None:
    """A write of no segments, or of no bytes at the very end, is done; so is one of all there is."""
    link = endpoint.connect(target.info)
    assert settle(link.write([]), TicketState.DONE).bytes == 0
    assert settle(link.write([Segment(SIZE, SIZE, 0)]), TicketState.DONE).bytes == 0
    assert target.checksum() == zlib.crc32(bytes(SIZE))
    assert settle(link.write([Segment(0, 0, SIZE)]), TicketState.DONE).bytes == SIZE
    assert target.checksum() == zlib.crc32(memory.bytes.data)


def test_writes_of_a_link_complete_in_order(endpoint: Endpoint, target: Target) -> None:
    """The ticket of a later write is never settled before that of an earlier one."""
    link = endpoint.connect(target.info)
    order: list[int] = []
    tickets = [link.write([Segment(i << 16, i << 16, 1 << 16)]) for i in range(32)]
    for index, ticket in enumerate(tickets):
        ticket.add_done_callback(lambda _, index=index: order.append(index))
    for ticket in tickets:
        settle(ticket, TicketState.DONE)
    assert order == list(range(32))


def test_a_segment_that_leaves_a_region_is_refused_here(endpoint: Endpoint, target: Target) -> None:
    """Ranges are checked before the transport is touched; Mooncake accepts a foreign source and reports success."""
    link = endpoint.connect(target.info)
    for segment in (
        *(Segment(SIZE - 10, 0, 11), Segment(-1, 0, 10), Segment(SIZE, 0, 1)),
        *(Segment(0, -1, 10), Segment(0, SIZE, 1), Segment(0, 2**70, 1), Segment(0, 0, -1)),
    ):
        ticket = settle(link.write([Segment(0, 0, 64), segment]), TicketState.FAILED)
        assert ticket.quiesced and "lies outside" in ticket.error
    assert target.checksum() == zlib.crc32(bytes(SIZE)), "not even the good segment in front was written"


@pytest.mark.parametrize("length", [100, 16 << 20], ids=["small", "large"])
def test_the_peer_itself_refuses_what_lies_outside_of_its_memory(
    endpoint: Endpoint, target: Target, length: int
) -> None:
    """A peer's word is not taken for its own bounds: here it claims twice the memory that it has."""
    forged = msgspec.structs.replace(target.info, length=2 * SIZE)
    link = endpoint.connect(forged)
    ticket = settle(link.write([Segment(0, SIZE - 50, length)]), TicketState.FAILED)
    assert target.info.session in ticket.error
    assert target.checksum() == zlib.crc32(bytes(SIZE)), "nothing was written, and the target lives on"
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)


def test_without_registered_memory_nothing_is_written(backend: str, target: Target) -> None:
    """Mooncake would read any address and report success."""
    bare = open_end(backend)
    ticket = settle(bare.connect(target.info).write([Segment(0, 0, 64)]), TicketState.FAILED)
    assert ticket.quiesced and "source" in ticket.error
    bare.close()


def test_nothing_is_begun_after_the_time_that_the_writer_has(endpoint: Endpoint, target: Target) -> None:
    """A write behind its `not_after` fails, quiet; one in the middle of it begins no further segment."""
    link = endpoint.connect(target.info)
    late = settle(link.write([Segment(0, 0, 4096)], not_after=time.monotonic()), TicketState.FAILED)
    assert late.quiesced and "time was over" in late.error
    assert target.checksum() == zlib.crc32(bytes(SIZE))
    settle(link.write([Segment(0, 0, 4096)], not_after=time.monotonic() + 60), TicketState.DONE)
    pieces = [Segment(0, place % 512 << 16, 1 << 16) for place in range(8192)]
    cut = settle(link.write(pieces, not_after=time.monotonic() + 0.005), TicketState.FAILED)
    assert cut.quiesced and "time was over" in cut.error
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)


def test_a_closed_link_refuses_writes(endpoint: Endpoint, target: Target) -> None:
    """Nothing is taken any more, and the ticket is quiet."""
    link = endpoint.connect(target.info)
    link.close()
    ticket = settle(link.write([Segment(0, 0, 1)]), TicketState.FAILED)
    assert ticket.quiesced


def test_closing_a_link_settles_every_ticket_once(endpoint: Endpoint, victim: Target) -> None:
    """What has not begun fails quietly; what runs fails or is done; each is told of exactly once.

    What runs may still land afterwards, so not in the memory that other tests look at.
    """
    link = endpoint.connect(victim.info)
    tickets = [link.write([Segment(0, 0, SIZE)]) for _ in range(50)]
    heard: list[int] = []
    for ticket in tickets:
        ticket.add_done_callback(lambda ticket: heard.append(id(ticket)))
    link.close()
    assert all(ticket.state is not TicketState.PENDING for ticket in tickets)
    assert tickets[-1].state is TicketState.FAILED and tickets[-1].quiesced
    assert sorted(heard) == sorted(map(id, tickets))
    link.close()  # a second time changes nothing


def test_a_callback_that_raises_or_closes_its_own_link_stops_no_other_write(
    endpoint: Endpoint, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a ticket's callback does, later writes are made and the link can be closed."""
    link = endpoint.connect(target.info)

    def complain(_: object) -> None:
        raise RuntimeError("the loop is closed")

    gate = link.write([Segment(0, 0, SIZE)])
    gate.add_done_callback(complain)
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    last = link.write([Segment(0, 0, SIZE)])
    last.add_done_callback(lambda _: link.close())
    settle(last, TicketState.DONE)
    link.close()


def test_another_transport_is_refused(endpoint: Endpoint) -> None:
    """An endpoint connects to its own kind alone."""
    with pytest.raises(TransferError, match="smoke"):
        endpoint.connect(EndpointInfo("smoke", "127.0.0.1:1", 0, 0))


def listening_ports(processes: list[psutil.Process]) -> set[int]:
    found = [connection for process in processes for connection in process.net_connections("tcp")]
    return {connection.laddr.port for connection in found if connection.status == psutil.CONN_LISTEN}


def test_junk_on_its_ports_disturbs_no_transfer(endpoint: Endpoint, target: Target, memory: Memory) -> None:
    """Strangers are hung up on or ignored, be it HTTP, HTTP/2's preface or noise."""
    link = endpoint.connect(target.info)
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    junk = (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(range(256)) * 16, b"")
    for port in listening_ports(target.all_processes()):
        for words in junk:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger, contextlib.suppress(OSError):
                stranger.sendall(words)
    settle(link.write([Segment(0, 0, SIZE)]), TicketState.DONE)
    settle(endpoint.connect(target.info).write([Segment(0, 0, 4096)]), TicketState.DONE)
    assert target.checksum() == zlib.crc32(memory.bytes.data)


def test_closing_an_endpoint_ends_its_threads_ports_and_processes(backend: str, memory: Memory, target: Target) -> None:
    """Nothing of a closed endpoint is left in its process."""
    own = psutil.Process()
    before = listening_ports([own]), {child.pid for child in own.children()}, set(threading.enumerate())
    files = len(list(Path("/proc/self/fd").iterdir()))
    opened = open_end(backend)
    memory.register_with(opened)
    link = opened.connect(target.info)
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    assert set(threading.enumerate()) > before[2]
    opened.close()
    until(lambda: listening_ports([own]) == before[0], "the ports are closed")
    assert {child.pid for child in own.children()} == before[1]
    assert set(threading.enumerate()) == before[2]
    if backend != "mooncake_tcp":  # whose library keeps some
        del link, opened
        until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= files, "its descriptors are closed")


def test_a_process_ends_in_order_when_it_closes_its_endpoint(backend: str) -> None:
    """Closing returns, and the process then ends by itself, without a signal."""
    target = Target(backend, 1 << 20)
    assert target.end().strip() == "closed"
    assert target.process.returncode == 0


@pytest.mark.parametrize("backend", ["tcp", "mooncake_tcp"], indirect=True)
def test_an_endpoint_on_all_addresses_names_one_that_peers_can_reach(backend: str, memory: Memory) -> None:
    opened = open_end(backend, host="0.0.0.0")
    memory.register_with(opened)
    host, _, _ = opened.describe().session.rpartition(":")
    assert host != "0.0.0.0"
    socket.inet_aton(host)
    opened.close()
