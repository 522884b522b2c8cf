"""What plain sockets do beyond the common contract."""

from __future__ import annotations

import contextlib
import socket
import threading

import msgspec
from pdpanel.engine.transfer.api import Segment, TicketState
from transports import SIZE, Memory, open_end, settle


def test_a_refusal_is_told_from_a_broken_connection(memory: Memory) -> None:
    """A refused writer used to find its connection reset while it still sent, and could not call itself quiet."""
    own = Memory(4096)
    source, sink = open_end("tcp"), open_end("tcp")
    memory.register_with(source)
    own.register_with(sink)
    forged = msgspec.structs.replace(sink.describe(), length=SIZE)
    ticket = settle(source.connect(forged).write([Segment(0, 0, SIZE)]), TicketState.FAILED)
    assert "refused" in ticket.error and ticket.quiesced
    source.close()
    sink.close()


def test_no_bytes_are_taken_without_the_secret(memory: Memory) -> None:
    own = Memory(4096)
    before = own.bytes.tobytes()
    source, sink = open_end("tcp"), open_end("tcp")
    memory.register_with(source)
    own.register_with(sink)
    info = sink.describe()
    forged = msgspec.structs.replace(info, secret="0" * len(info.secret))
    settle(source.connect(forged).write([Segment(64, 0, 64)]), TicketState.FAILED)
    assert own.bytes.tobytes() == before
    source.close()
    sink.close()


def test_closing_ends_the_connections_of_its_peers(memory: Memory) -> None:
    own = Memory(4096)
    source, sink = open_end("tcp"), open_end("tcp")
    memory.register_with(source)
    own.register_with(sink)
    threads = {thread for thread in threading.enumerate() if thread.name == "tcp receive"}
    link = source.connect(sink.describe())
    settle(link.write([Segment(0, 0, 4096)]), TicketState.DONE)
    assert {thread for thread in threading.enumerate() if thread.name == "tcp receive"} > threads
    sink.close()
    assert {thread for thread in threading.enumerate() if thread.name == "tcp receive"} == threads
    settle(link.write([Segment(0, 0, 4096)]), TicketState.FAILED)
    source.close()


def test_it_hangs_up_on_a_stranger(memory: Memory) -> None:
    endpoint = open_end("tcp")
    memory.register_with(endpoint)
    host, _, port = endpoint.describe().session.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: y\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(100) == b""
    endpoint.close()
