"""Two ends of a transport for tests: one here, one in a process of its own that can be asked, stopped and killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

import msgspec
import numpy as np
import psutil
from pdpanel.engine.transfer.api import Endpoint, EndpointInfo, Ticket, TicketState, TransferSettings
from pdpanel.engine.transfer.faults import FaultPlan
from pdpanel.engine.transfer.memory import SharedMemory, address_of
from pdpanel.engine.transfer.select import open_endpoint

BACKENDS = ("tcp", "mooncake_tcp", "shm", "nixl", "faulty")
SIZE = 32 << 20
# Peers' memory takes bytes without the peer: nothing waits for a process that stands still.
ONE_SIDED = frozenset({"shm"})

TARGET = """
import os, sys, zlib
import msgspec
from transports import open_end
from pdpanel.engine.transfer.memory import SharedMemory, address_of
endpoint = open_end(sys.argv[1])
memory = SharedMemory(int(sys.argv[2]))
endpoint.register(address_of(memory.map), memory.length, memory.file)
print(msgspec.json.encode(endpoint.describe()).decode(), flush=True)
for line in sys.stdin:
    start, stop = map(int, line.split())
    if stop < 0:
        memory.map[:] = bytes(memory.length)
    print(zlib.crc32(memoryview(memory.map)[start:stop]), flush=True)
endpoint.close()
print("closed", flush=True)
os._exit(0)
"""


def settings_of(backend: str) -> TransferSettings:
    """Short limits; Mooncake's own are 5 s at least."""
    return TransferSettings(timeout_s=5.0 if backend == "mooncake_tcp" else 1.0)


def open_end(backend: str, faults: FaultPlan | None = None, host: str = "127.0.0.1") -> Endpoint:
    """Opens an endpoint; "faulty" is sockets behind a transport that could go wrong and, without a plan, does not."""
    environ: MutableMapping[str, str] = os.environ
    if backend == "nixl":  # over sockets, so that its faults are those of a network
        environ = {**os.environ, "UCX_TLS": "tcp,self"}
    faulty = backend == "faulty"
    selection = open_endpoint(
        "tcp" if faulty else backend,
        host=host,
        device="",
        settings=settings_of(backend),
        environ=environ,
        faults=faults or (FaultPlan() if faulty else None),
    )
    assert not selection.notice, selection.notice
    return selection.endpoint


class Memory:
    """Random bytes that every transport can register; `bytes` is a view of them."""

    def __init__(self, size: int = SIZE) -> None:
        self._shared = SharedMemory(size)
        self.bytes = np.frombuffer(self._shared.map, np.uint8)
        self.bytes[:] = np.random.default_rng(7).integers(1, 255, size, dtype=np.uint8)

    def register_with(self, endpoint: Endpoint) -> None:
        endpoint.register(address_of(self._shared.map), self._shared.length, self._shared.file)


class Target:
    """A process with an endpoint and SIZE bytes of zeros."""

    def __init__(self, backend: str, size: int = SIZE) -> None:
        command = [sys.executable, "-c", TARGET, backend, str(size)]
        support = os.path.dirname(__file__)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": support}
        )
        assert self.process.stdout is not None
        self.size = size
        self.info = msgspec.json.decode(self.process.stdout.readline(), type=EndpointInfo)

    def _ask(self, start: int, stop: int) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{start} {stop}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def checksum(self, start: int = 0, stop: int = SIZE) -> int:
        return self._ask(start, stop)

    def clear(self) -> None:
        self._ask(0, -1)

    def all_processes(self) -> list[psutil.Process]:
        """Returns it and what it started, such as NIXL's agent."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Has all of it stand still."""
        processes = self.all_processes()
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                if process.is_running():
                    process.resume()

    def kill(self) -> None:
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.kill()
            self.process.communicate(timeout=10)

    def end(self) -> str:
        """Has it close its endpoint; returns what it said last."""
        rest, _ = self.process.communicate(timeout=30)
        return rest


def settle(ticket: Ticket, state: TicketState) -> Ticket:
    """Waits for a ticket's end, which must be this one."""
    assert ticket.wait(30), "no ticket stays pending"
    assert ticket.state is state, ticket.error
    return ticket
