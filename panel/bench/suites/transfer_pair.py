"""The two processes between which a carrier is measured, and what they report."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

import msgspec

from ....engine.errors import PeerError
from ....engine.transfer.api import Segment
from .transfer_carriers import EXPORT, IMPORT, MEMCPY
from .transfer_wire import Carry, Checksum, Connect, Lap, Order, Report, Reset

__all__ = ["Pair", "Sample"]

_ANSWER_S = 60.0
_END_S = 5.0
_ALONE = frozenset({MEMCPY, EXPORT, IMPORT})
_MODULE = f"{__package__}.transfer_end"


@dataclass(frozen=True, slots=True)
class Sample:
    """One stretch of carrying.

    Attributes:
        gb_s: bytes over the time in which a write was under way, in 10^9 bytes a second.
        last_ms: the last write of a prompt, median.
        cpu_s_gb: processor seconds of both ends for 10^9 bytes.
    """

    gb_s: float
    last_ms: float
    cpu_s_gb: float


class _End:
    def __init__(self, name: str, size: int, element: int, role: str) -> None:
        command = [sys.executable, "-m", _MODULE, name, str(size), str(element), role]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._about = f"The {role} process of {name}"
        self._rest = b""
        try:
            self.address = self._hear().address
        except PeerError:
            self.close()
            raise

    def ask(self, order: Order, patience_s: float = _ANSWER_S) -> Report:
        """Returns the answer to an order.

        Raises:
            PeerError: the process cannot do it, ended, or does not answer in time.
        """
        self.tell(order)
        return self._hear(patience_s)

    def tell(self, order: Order) -> None:
        try:
            _pipe(self._process.stdin).write(msgspec.json.encode(order) + b"\n")
        except OSError:
            pass  # it has ended, as `_hear` finds out

    def _hear(self, patience_s: float = _ANSWER_S) -> Report:
        pipe, deadline = _pipe(self._process.stdout), time.monotonic() + patience_s
        while b"\n" not in self._rest:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise PeerError(f"{self._about} does not answer within {patience_s:g} s.")
            if not (data := os.read(pipe.fileno(), 1 << 16)):
                raise PeerError(f"{self._about} ended with code {self._process.wait()}.")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        report = msgspec.json.decode(line, type=Report)
        if report.error:
            raise PeerError(report.error)
        return report

    def close(self) -> None:
        """Ends the process."""
        _pipe(self._process.stdin).close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _pipe(self._process.stdout).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _places(writes: Sequence[Sequence[Segment]]) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    return tuple(tuple((s.source, s.target, s.length) for s in write) for write in writes)


class Pair:
    """A carrier between two processes, or within one where it has no other end.

    Args:
        name: see `transfer_carriers.open_carrier`.
        size: bytes of memory on both sides.
        element: bytes of one number of the KV.

    Raises:
        PeerError: it cannot be had here; the text says why.
    """

    def __init__(self, name: str, size: int, element: int) -> None:
        self.name = name
        self._ends: list[_End] = []
        try:
            address = ""
            if name not in _ALONE:
                self._ends.append(_End(name, size, element, "receive"))
                address = self._ends[0].address
            self._ends.append(_End(name, size, element, "send"))
            self._ends[-1].ask(Connect(address))
        except PeerError:
            self.close()
            raise

    def prove(self, writes: Sequence[Sequence[Segment]]) -> None:
        """Carries once and compares what arrived; touches all memory.

        Raises:
            PeerError: other bytes arrived.
        """
        places = _places(writes)
        if len(self._ends) == 1:
            self._ends[0].ask(Carry(places, 0.0))
            return
        receiver, sender = self._ends
        receiver.ask(Reset())
        sender.ask(Carry(places, 0.0))
        sent = sender.ask(Checksum(places, of_targets=False)).checksum
        if receiver.ask(Checksum(places, of_targets=True)).checksum != sent:
            raise PeerError(f"{self.name} did not bring the bytes that were sent.")

    def carry(self, writes: Sequence[Sequence[Segment]], seconds: float) -> Sample:
        """Carries for some time.

        Raises:
            PeerError: it broke.
        """
        for end in self._ends[:-1]:
            end.ask(Lap())
        report = self._ends[-1].ask(Carry(_places(writes), seconds), _ANSWER_S + seconds)
        cpu = report.cpu_s + sum(end.ask(Lap()).cpu_s for end in self._ends[:-1])
        return Sample(report.size / report.seconds / 1e9, report.last_s * 1e3, cpu / report.size * 1e9)

    def close(self) -> None:
        """Ends its processes."""
        for end in reversed(self._ends):
            end.close()
