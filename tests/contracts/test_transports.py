"""One suite that every transport passes: bytes arrive, bad ranges are refused, a dead peer is a failed ticket.

The target runs in a process of its own, as in a deployment; it prints its EndpointInfo and answers `sum` lines with
the checksum of its memory.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from pdpanel.engine.errors import TransferError
from pdpanel.engine.transfer.api import Endpoint, EndpointInfo, Segment, TicketState, TransferSettings
from pdpanel.engine.transfer.select import open_endpoint

SIZE = 8 << 20
SETTINGS = TransferSettings(timeout_s=5.0)

TARGET = """
import json, os, sys, zlib
import msgspec, numpy as np
from pdpanel.engine.transfer.api import TransferSettings
from pdpanel.engine.transfer.select import open_endpoint
selection = open_endpoint(sys.argv[1], host="127.0.0.1", device="", settings=TransferSettings(timeout_s=5.0),
                          environ=os.environ)
memory = np.zeros(int(sys.argv[2]), np.uint8)
selection.endpoint.register(memory.ctypes.data, memory.nbytes)
print(selection.used, msgspec.json.encode(selection.endpoint.describe()).decode(), flush=True)
for line in sys.stdin:
    start, stop = map(int, line.split())
    print(zlib.crc32(memory[start:stop]), flush=True)
selection.endpoint.close()
print("closed", flush=True)
os._exit(0)
"""


class Target:
    """A process with an endpoint and SIZE bytes of zeros."""

    def __init__(self, backend: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TARGET, backend, str(SIZE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.used, _, described = self.process.stdout.readline().partition(" ")
        self.info = msgspec.json.decode(described, type=EndpointInfo)

    def checksum(self, start: int, stop: int) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{start} {stop}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> str:
        if self.process.stdin is None or self.process.stdin.closed:
            return ""
        rest, _ = self.process.communicate(timeout=10)
        return rest


@pytest.fixture(params=["tcp", "mooncake_tcp"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def target(backend: str) -> Iterator[Target]:
    process = Target(backend)
    assert process.used == backend, "the transport that was asked for is the one that is used"
    yield process
    process.end()


@pytest.fixture
def memory() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 255, SIZE, dtype=np.uint8)


@pytest.fixture
def endpoint(backend: str, memory: np.ndarray) -> Iterator[Endpoint]:
    selection = open_endpoint(backend, host="127.0.0.1", device="", settings=SETTINGS, environ=os.environ)
    selection.endpoint.register(memory.ctypes.data, memory.nbytes)
    yield selection.endpoint
    selection.endpoint.close()


def test_bytes_arrive_where_the_plan_says(endpoint: Endpoint, target: Target, memory: np.ndarray) -> None:
    link = endpoint.connect(target.info)
    segments = [Segment(0, 4 << 20, 1 << 20), Segment(3 << 20, 0, 2 << 20), Segment(6 << 20, 7 << 20, 999)]
    ticket = link.write(segments)
    assert ticket.wait(20) and ticket.state is TicketState.DONE, ticket.error
    assert ticket.quiesced and ticket.bytes == (3 << 20) + 999 and ticket.seconds > 0
    for segment in segments:
        expected = zlib.crc32(memory[segment.source : segment.source + segment.length].tobytes())
        assert target.checksum(segment.target, segment.target + segment.length) == expected
    assert target.checksum(5 << 20, 7 << 20) == zlib.crc32(bytes(2 << 20)), "nothing else was touched"


def test_writes_complete_in_order(endpoint: Endpoint, target: Target) -> None:
    link = endpoint.connect(target.info)
    order: list[int] = []
    tickets = [link.write([Segment(i << 16, i << 16, 1 << 16)]) for i in range(32)]
    for index, ticket in enumerate(tickets):
        ticket.add_done_callback(lambda _, index=index: order.append(index))
    assert all(ticket.wait(20) for ticket in tickets)
    assert order == sorted(order) and len(order) == 32


@pytest.mark.parametrize(
    "segment",
    [Segment(SIZE - 10, 0, 11), Segment(-1, 0, 10), Segment(SIZE, 0, 1)],
    ids=["past the end", "before the start", "outside"],
)
def test_a_source_outside_of_the_registered_memory_is_refused(
    endpoint: Endpoint, target: Target, segment: Segment
) -> None:
    """Mooncake itself accepts an unregistered source and reports success."""
    ticket = endpoint.connect(target.info).write([segment])
    assert ticket.wait(10)
    assert ticket.state is TicketState.FAILED and ticket.quiesced
    assert "source" in ticket.error


def test_a_target_outside_of_the_registered_memory_is_refused(endpoint: Endpoint, target: Target) -> None:
    link = endpoint.connect(target.info)
    ticket = link.write([Segment(0, SIZE - 100, 4096)])
    assert ticket.wait(20)
    assert ticket.state is TicketState.FAILED and ticket.error
    good = link.write([Segment(0, 0, 4096)])
    assert good.wait(20) and good.state is TicketState.DONE, "the target lives on"


def test_a_killed_peer_fails_the_write_and_not_this_process(endpoint: Endpoint, target: Target) -> None:
    link = endpoint.connect(target.info)
    first = link.write([Segment(0, 0, 4096)])
    assert first.wait(20) and first.state is TicketState.DONE
    target.process.kill()
    target.process.wait(10)
    ticket = link.write([Segment(0, 0, SIZE)])
    assert ticket.wait(20)
    assert ticket.state is TicketState.FAILED
    assert target.info.session in ticket.error


def test_a_closed_link_refuses_writes(endpoint: Endpoint, target: Target) -> None:
    link = endpoint.connect(target.info)
    link.close()
    ticket = link.write([Segment(0, 0, 1)])
    assert ticket.state is TicketState.FAILED and ticket.quiesced


def test_another_transport_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(TransferError, match="smoke"):
        endpoint.connect(EndpointInfo("smoke", "127.0.0.1:1", 0, 0))


def test_closing_ends_the_process_in_order(target: Target) -> None:
    assert target.end().strip() == "closed"
    assert target.process.returncode == 0


def test_tcp_takes_no_bytes_without_the_secret() -> None:
    source, sink = (open_endpoint("tcp", host="127.0.0.1", device="", settings=SETTINGS, environ={}) for _ in "ab")
    data, memory = ctypes.create_string_buffer(b"x" * 64), ctypes.create_string_buffer(64)
    source.endpoint.register(ctypes.addressof(data), 64)
    sink.endpoint.register(ctypes.addressof(memory), 64)
    info = sink.endpoint.describe()
    forged = msgspec.structs.replace(info, secret="0" * len(info.secret))
    ticket = source.endpoint.connect(forged).write([Segment(0, 0, 64)])
    assert ticket.wait(10) and ticket.state is TicketState.FAILED
    assert memory.raw == bytes(64)
    source.endpoint.close()
    sink.endpoint.close()


def test_without_mooncake_the_kv_travels_over_tcp_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mooncake.engine", None)
    environ: dict[str, str] = {"MC_TRANSFER_TIMEOUT": "99"}
    selection = open_endpoint("mooncake", host="127.0.0.1", device="", settings=SETTINGS, environ=environ)
    assert (selection.requested, selection.used, selection.endpoint.kind) == ("mooncake", "tcp", "tcp")
    assert "cannot be imported" in selection.notice
    assert environ["MC_TRANSFER_TIMEOUT"] == "99", "what the user set wins"
    assert environ["MC_TCP_ENABLE_CONNECTION_POOL"] == "true"
    selection.endpoint.close()
