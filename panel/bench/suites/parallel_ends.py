"""The processes between which a way is measured, and what they report."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ....engine.errors import PeerError
from .child import Child
from .parallel_wire import Meet, Move, Order, Report

__all__ = ["Ends", "UnavailableError"]

_ANSWER_S = 90.0
_MODULE = f"{__package__}.parallel_end"


class UnavailableError(PeerError):
    """Raised when what a way needs is not installed here; the text says what."""


class _End:
    def __init__(self, about: str, arguments: Sequence[str]) -> None:
        self._child = Child(about, _MODULE, arguments)

    def tell(self, order: Order) -> None:
        self._child.tell(msgspec.json.encode(order))

    def hear(self) -> Report:
        """Returns the next report.

        Raises:
            PeerError: it cannot do what it was told, ended, or does not answer in time.
        """
        report = msgspec.json.decode(self._child.hear(_ANSWER_S), type=Report)
        if report.error:
            raise (UnavailableError if report.unavailable else PeerError)(report.error)
        return report

    def close(self) -> None:
        self._child.close()


class Ends:
    """All ends of a way, connected.

    Args:
        kind: `exchange` or `embeddings`.
        way: a name in `parallel_ways.EXCHANGES` or `parallel_embeddings.EMBEDDINGS`.
        size: bytes that each end has for each other one; of embeddings, whole images.

    Raises:
        UnavailableError: it cannot be had here.
        PeerError: it broke, or brought other bytes than were sent.
    """

    def __init__(self, kind: str, way: str, size: int, count: int = 2) -> None:
        self._ends: list[_End] = []
        try:
            for number in range(count):
                about = f"End {number} of {kind} by {way}"
                self._ends.append(_End(about, [kind, way, str(number), str(count), str(size)]))
            addresses = tuple(end.hear().address for end in self._ends)
            self._all(Meet(addresses))
            self._all(Move(1, proven=True))
            self._once_s = max(report.seconds for report in self._all(Move(2))) / 2
        except PeerError:
            self.close()
            raise

    def _all(self, order: Order) -> list[Report]:
        for end in self._ends:
            end.tell(order)
        return [end.hear() for end in self._ends]

    def goodput(self, seconds: float) -> float:
        """Returns 10^9 bytes a second, of all ends together, over about so long.

        Raises:
            PeerError: it broke.
        """
        reports = self._all(Move(max(2, round(seconds / self._once_s))))
        return sum(report.sent for report in reports) / max(report.seconds for report in reports) / 1e9

    def close(self) -> None:
        """Ends the processes."""
        for end in self._ends:
            end.close()
