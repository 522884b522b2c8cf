"""What plain sockets do beyond the common contract."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Any, cast

import msgspec
from pdpanel.engine.transfer.api import EndpointInfo, Segment, TicketState
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


def test_the_segments_of_a_write_go_together_and_are_answered_once(memory: Memory) -> None:
    """A receiver that computes gets Python's lock every few milliseconds: with each segment it waited for it again."""
    source = open_end("tcp")
    memory.register_with(source)
    segments = [Segment(64 * place, 128 * place, 8) for place in range(600)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        info = EndpointInfo("tcp", f"127.0.0.1:{server.getsockname()[1]}", 0, SIZE, "s" * 32)
        ticket = source.connect(info).write(segments)
        connection, _ = server.accept()
        got: list[tuple[int, int]] = []
        counts: list[int] = []
        with connection, connection.makefile("rb") as stream:
            assert stream.read(32) == b"s" * 32
            while len(got) < len(segments):
                counts.append(struct.unpack("<Q", stream.read(8))[0])
                got += struct.iter_unpack("<QQ", stream.read(16 * counts[-1]))
                data = stream.read(8 * counts[-1])
                first = segments[len(got) - counts[-1]].source
                assert data[:8] == memory.bytes[first : first + 8].tobytes()
                assert ticket.state is TicketState.PENDING
                connection.sendall(b"\0")
            settle(ticket, TicketState.DONE)
        assert got == [(segment.target, 8) for segment in segments]
        assert len(counts) == 2
    source.close()


def test_within_a_host_the_socket_buffers_are_small(memory: Memory) -> None:
    """The receiver takes bytes out of the cache; large buffers have them in main memory meanwhile."""
    source = open_end("tcp")
    memory.register_with(source)
    with socket.create_server(("127.0.0.1", 0)) as server:
        info = EndpointInfo("tcp", f"127.0.0.1:{server.getsockname()[1]}", 0, SIZE, "s" * 32)
        link = cast("Any", source.connect(info))
        link.write([Segment(0, 0, 8)])
        connection, _ = server.accept()
        with connection:
            assert connection.recv(32, socket.MSG_WAITALL) == b"s" * 32
            ours = link._connection
            assert ours is not None
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 1 << 20
    source.close()
