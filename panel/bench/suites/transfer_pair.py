"""The two processes between which a carrier is measured, and what they report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ....engine.errors import PeerError
from ....engine.transfer.api import Segment
from .child import Child
from .transfer_carriers import EXPORT, IMPORT, MEMCPY
from .transfer_wire import Carry, Checksum, Connect, Lap, Order, Report, Reset

__all__ = ["Pair", "Sample"]

_ANSWER_S = 60.0
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
        self._child = Child(f"The {role} process of {name}", _MODULE, [name, str(size), str(element), role])
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
        self._child.tell(msgspec.json.encode(order))

    def _hear(self, patience_s: float = _ANSWER_S) -> Report:
        report = msgspec.json.decode(self._child.hear(patience_s), type=Report)
        if report.error:
            raise PeerError(report.error)
        return report

    def close(self) -> None:
        """Ends the process."""
        self._child.close()


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
