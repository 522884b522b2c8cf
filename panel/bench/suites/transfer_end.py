"""One end of a way that KV takes: `python -m pdpanel.panel.bench.suites.transfer_end CARRIER BYTES ELEMENT ROLE`.

Reads orders from standard input and answers each with a report (see `transfer_wire`), the first before any order. Ends
with its input, by os._exit: NIXL and Mooncake may break a process that leaves in order.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import zlib

import msgspec
import psutil

from ....engine.errors import PdpanelError
from ....engine.transfer.api import Segment
from ....engine.transfer.memory import SharedMemory
from .transfer_carriers import Carrier, open_carrier
from .transfer_wire import Carry, Checksum, Connect, Lap, Order, Report, Reset

__all__ = ["main"]


class _Clock:
    """Processor time of this process and its children."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._total()

    def _total(self) -> float:
        found = [self._process, *self._process.children(recursive=True)]
        return sum(times.user + times.system for times in (process.cpu_times() for process in found))

    def lap(self) -> float:
        """Returns the seconds since the lap before."""
        before, self._before = self._before, self._total()
        return self._before - before


def _carry(carrier: Carrier, order: Carry, clock: _Clock) -> Report:
    writes = [[Segment(*place) for place in write] for write in order.writes]
    size, seconds, took, last = 0, 0.0, 0.0, list[float]()
    clock.lap()
    ends = time.perf_counter() + order.seconds
    while not last or time.perf_counter() < ends:
        for write in writes:
            began = time.perf_counter()
            carrier.carry(write)
            took = time.perf_counter() - began
            seconds += took
            size += sum(segment.length for segment in write)
        last.append(took)
    return Report(size=size, seconds=seconds, last_s=statistics.median(last), cpu_s=clock.lap())


def _checksum(memory: SharedMemory, order: Checksum) -> Report:
    found, view = 0, memoryview(memory.map)
    for write in order.writes:
        for source, target, length in write:
            start = target if order.of_targets else source
            found = zlib.crc32(view[start : start + length], found)
    return Report(checksum=found)


def _obey(order: Order, carrier: Carrier, memory: SharedMemory, clock: _Clock) -> Report:
    match order:
        case Connect(address=address):
            carrier.connect(address)
            return Report()
        case Carry():
            return _carry(carrier, order, clock)
        case Checksum():
            return _checksum(memory, order)
        case Reset():
            memory.map[:] = bytes(memory.length)
            return Report()
        case Lap():
            return Report(cpu_s=clock.lap())


def _say(report: Report) -> None:
    print(msgspec.json.encode(report).decode(), flush=True)


def main() -> None:
    """Serves one parent."""
    name, size, element, role = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    decoder = msgspec.json.Decoder(Order)
    memory = SharedMemory(size)
    memory.map[:] = (os.urandom(1 << 16) if role == "send" else bytes(1 << 16)) * (size >> 16) + bytes(size % (1 << 16))
    try:
        carrier = open_carrier(name, memory, element)
        _say(Report(address=carrier.address() if role == "receive" else ""))
        clock = _Clock()
        for line in sys.stdin:
            _say(_obey(decoder.decode(line), carrier, memory, clock))
    except PdpanelError as error:
        _say(Report(error=str(error)))
    os._exit(0)


if __name__ == "__main__":
    main()
