"""What goes wrong between two processes, for every transport: forged ranges, dead and stopped peers, orderly ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
from pdpanel.engine.transfer.api import Endpoint, EndpointInfo, Link, Segment, Ticket, TicketState, TransferSettings
from pdpanel.engine.transfer.select import open_endpoint

SIZE = 32 << 20
SETTINGS = TransferSettings(timeout_s=5.0)

TARGET = """
import os, sys, zlib
import msgspec, numpy as np
from pdpanel.engine.transfer.api import TransferSettings
from pdpanel.engine.transfer.select import open_endpoint
endpoint = open_endpoint(sys.argv[1], host="127.0.0.1", device="", settings=TransferSettings(timeout_s=5.0),
                         environ=os.environ).endpoint
memory = np.zeros(int(sys.argv[2]), np.uint8)
endpoint.register(memory.ctypes.data, memory.nbytes)
print(msgspec.json.encode(endpoint.describe()).decode(), flush=True)
for _ in sys.stdin:
    print(zlib.crc32(memory), flush=True)
os._exit(0)
"""


class Target:
    """A process with an endpoint and SIZE bytes of zeros."""

    def __init__(self, backend: str) -> None:
        command = [sys.executable, "-c", TARGET, backend, str(SIZE)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.info = msgspec.json.decode(self.process.stdout.readline(), type=EndpointInfo)

    def checksum(self) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


@pytest.fixture(params=["tcp", "mooncake_tcp"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def target(backend: str) -> Iterator[Target]:
    process = Target(backend)
    yield process
    process.kill()


@pytest.fixture
def memory() -> np.ndarray:
    return np.random.default_rng(7).integers(1, 255, SIZE, dtype=np.uint8)


def open_source(backend: str, memory: np.ndarray | None) -> Endpoint:
    selection = open_endpoint(backend, host="127.0.0.1", device="", settings=SETTINGS, environ=os.environ)
    assert selection.used == backend, selection.notice
    if memory is not None:
        selection.endpoint.register(memory.ctypes.data, memory.nbytes)
    return selection.endpoint


@pytest.fixture
def endpoint(backend: str, memory: np.ndarray) -> Iterator[Endpoint]:
    opened = open_source(backend, memory)
    yield opened
    opened.close()


def settle(ticket: Ticket, state: TicketState) -> Ticket:
    assert ticket.wait(30), "no ticket stays pending"
    assert ticket.state is state, ticket.error
    return ticket


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.01)


def test_many_small_segments_arrive_exactly(endpoint: Endpoint, target: Target, memory: np.ndarray) -> None:
    expected = np.zeros(SIZE, np.uint8)
    random = np.random.default_rng(3)
    segments, at = [], 0
    for length in random.integers(0, 3000, 500).tolist():
        source = int(random.integers(0, SIZE - length))
        segments.append(Segment(source, at, length))
        expected[at : at + length] = memory[source : source + length]
        at += length + int(random.integers(0, 99))
    link = endpoint.connect(target.info)
    settle(link.write(segments), TicketState.DONE)
    assert target.checksum() == zlib.crc32(expected.data)


def test_the_whole_region_and_an_empty_write(endpoint: Endpoint, target: Target, memory: np.ndarray) -> None:
    link = endpoint.connect(target.info)
    assert settle(link.write([]), TicketState.DONE).bytes == 0
    assert settle(link.write([Segment(0, 0, SIZE)]), TicketState.DONE).bytes == SIZE
    assert target.checksum() == zlib.crc32(memory.data)


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


def test_tcp_tells_a_refusal_from_a_broken_connection(memory: np.ndarray) -> None:
    """A refused writer used to find its connection reset while it still sent, and could not call itself quiet."""
    own = np.zeros(4096, np.uint8)
    source, sink = open_source("tcp", memory), open_source("tcp", own)
    forged = msgspec.structs.replace(sink.describe(), length=SIZE)
    ticket = settle(source.connect(forged).write([Segment(0, 0, SIZE)]), TicketState.FAILED)
    assert "refused" in ticket.error and ticket.quiesced
    source.close()
    sink.close()


@pytest.mark.parametrize("segment", [Segment(0, -1, 10), Segment(0, SIZE, 1), Segment(0, 2**70, 1), Segment(0, 0, -1)])
def test_a_segment_that_cannot_be_is_refused_here(endpoint: Endpoint, target: Target, segment: Segment) -> None:
    ticket = settle(endpoint.connect(target.info).write([segment]), TicketState.FAILED)
    assert ticket.quiesced and "lies outside" in ticket.error


def test_without_registered_memory_nothing_is_written(backend: str, target: Target) -> None:
    """Mooncake would read any address and report success."""
    bare = open_source(backend, None)
    ticket = settle(bare.connect(target.info).write([Segment(0, 0, 64)]), TicketState.FAILED)
    assert ticket.quiesced and "source" in ticket.error
    bare.close()


def test_a_peer_that_was_never_there_fails_the_write(endpoint: Endpoint, backend: str) -> None:
    """This Mooncake answers with job 0, and asking for its status ends the process with a segmentation fault."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    nobody = EndpointInfo(endpoint.kind, f"127.0.0.1:{port}", 4096, SIZE, "0" * 32)
    ticket = settle(endpoint.connect(nobody).write([Segment(0, 0, 4096)]), TicketState.FAILED)
    assert f"127.0.0.1:{port}" in ticket.error
    if backend == "tcp":
        assert ticket.quiesced, "not a byte left this process"


def test_a_peer_killed_in_the_middle_fails_the_write_under_way_and_those_behind_it(
    endpoint: Endpoint, target: Target
) -> None:
    link = endpoint.connect(target.info)
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    os.kill(target.process.pid, signal.SIGSTOP)  # so that the write is under way for certain
    under_way = link.write([Segment(0, 0, SIZE)])
    behind = link.write([Segment(0, 0, 4096)])
    assert under_way.state is TicketState.PENDING
    target.kill()
    assert not settle(under_way, TicketState.FAILED).quiesced
    settle(behind, TicketState.FAILED)
    again = Target("tcp" if endpoint.kind == "tcp" else "mooncake_tcp")
    settle(endpoint.connect(again.info).write([Segment(0, 0, SIZE)]), TicketState.DONE)
    again.kill()


def test_a_peer_that_stands_still_fails_the_write_within_its_limit(endpoint: Endpoint, target: Target) -> None:
    link = endpoint.connect(target.info)
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    os.kill(target.process.pid, signal.SIGSTOP)
    ticket = link.write([Segment(0, 0, SIZE)])
    assert ticket.wait(SETTINGS.hard_timeout_s)
    assert ticket.state is TicketState.FAILED and not ticket.quiesced, "what was sent may land when the peer wakes"
    os.kill(target.process.pid, signal.SIGCONT)
    settle(endpoint.connect(target.info).write([Segment(0, 0, SIZE)]), TicketState.DONE)


def test_a_peer_that_answers_nothing_keeps_no_other_peer_waiting(
    endpoint: Endpoint, backend: str, target: Target, memory: np.ndarray
) -> None:
    """Mooncake's first write to such a peer holds a lock for a minute that every write of the process needs."""
    silent = Target(backend)
    os.kill(silent.process.pid, signal.SIGSTOP)
    stuck = endpoint.connect(silent.info).write([Segment(0, 0, SIZE)])
    settle(endpoint.connect(target.info).write([Segment(0, 0, SIZE)]), TicketState.DONE)
    assert target.checksum() == zlib.crc32(memory.data)
    assert stuck.state is TicketState.PENDING
    settle(stuck, TicketState.FAILED)
    silent.kill()


def test_closing_a_link_settles_every_ticket(endpoint: Endpoint, target: Target) -> None:
    link = endpoint.connect(target.info)
    tickets = [link.write([Segment(0, 0, SIZE)]) for _ in range(50)]
    heard: list[Ticket] = []
    for ticket in tickets:
        ticket.add_done_callback(heard.append)
    link.close()
    assert all(ticket.state is not TicketState.PENDING for ticket in tickets)
    assert tickets[-1].state is TicketState.FAILED and tickets[-1].quiesced
    assert sorted(map(id, heard)) == sorted(map(id, tickets))
    link.close()  # a second time changes nothing


def test_a_callback_that_raises_or_closes_its_own_link_stops_no_other_write(
    endpoint: Endpoint, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    link = endpoint.connect(target.info)

    def complain(_: Ticket) -> None:
        raise RuntimeError("the loop is closed")

    gate = link.write([Segment(0, 0, SIZE)])
    gate.add_done_callback(complain)
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    last = link.write([Segment(0, 0, SIZE)])
    last.add_done_callback(lambda _: link.close())
    settle(last, TicketState.DONE)
    link.close()


def listening_ports() -> set[int]:
    connections = psutil.Process().net_connections("tcp")
    return {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}


def task_names() -> list[str]:
    names = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            names.append((task / "comm").read_text().strip())
    return names


def test_closing_an_endpoint_ends_its_threads_and_ports(backend: str, memory: np.ndarray, target: Target) -> None:
    before, threads = listening_ports(), set(threading.enumerate())
    opened = open_source(backend, memory)
    assert listening_ports() > before
    link: Link = opened.connect(target.info)
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    opened.close()
    until(lambda: listening_ports() == before, "the ports are closed")
    assert set(threading.enumerate()) == threads


def test_tcp_closing_ends_the_connections_of_its_peers(memory: np.ndarray) -> None:
    own = np.zeros(4096, np.uint8)
    source, sink = open_source("tcp", memory), open_source("tcp", own)
    threads = {thread for thread in threading.enumerate() if thread.name == "tcp receive"}
    link = source.connect(sink.describe())
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    assert {thread for thread in threading.enumerate() if thread.name == "tcp receive"} > threads
    sink.close()
    assert {thread for thread in threading.enumerate() if thread.name == "tcp receive"} == threads
    settle(link.write([Segment(0, 0, 4096)]), TicketState.FAILED)
    source.close()


def test_tcp_hangs_up_on_a_stranger(memory: np.ndarray) -> None:
    endpoint = open_source("tcp", memory)
    host, _, port = endpoint.describe().session.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: y\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(100) == b""
    endpoint.close()


def test_an_endpoint_on_all_addresses_names_one_that_peers_can_reach(backend: str, memory: np.ndarray) -> None:
    selection = open_endpoint(backend, host="0.0.0.0", device="", settings=SETTINGS, environ=os.environ)
    selection.endpoint.register(memory.ctypes.data, memory.nbytes)
    host, _, _ = selection.endpoint.describe().session.rpartition(":")
    assert host != "0.0.0.0"
    socket.inet_aton(host)
    selection.endpoint.close()
