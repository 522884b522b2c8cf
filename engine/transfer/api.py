"""What every KV transport is: an endpoint per process, a link per peer, a ticket per write.

Rule that all of them keep: a FAILED ticket does not imply that the writer has stopped. Only `quiesced` permits reuse
of the memory on either side. Offsets are relative to the registered regions, so that neither side needs to know the
other's addresses before the handshake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import msgspec

from .plan import Segment

__all__ = ["Endpoint", "EndpointInfo", "Link", "Segment", "Ticket", "TicketState", "TransferSettings"]


class EndpointInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a peer reaches an endpoint; travels in the handshake.

    Attributes:
        kind: the transport, such as "mooncake" or "tcp".
        session: the transport's own name for the endpoint, where it has ports host:port.
        base: address of the registered region in the endpoint's process.
        length: bytes of the region.
        secret: what opens a connection, or says how; empty where the transport has no such thing.
    """

    kind: str
    session: str
    base: int
    length: int
    secret: str = ""


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """Limits of a transport.

    Attributes:
        timeout_s: after which a write fails (MC_TRANSFER_TIMEOUT; Mooncake's minimum is 5).
        max_segment_bytes: of one call into a transport.
        queues: to which links are shared out; 1 serves all peers first come, first served.
        threads: that write, over all queues; at least one for each.
    """

    timeout_s: float = 10.0
    max_segment_bytes: int = 1 << 30
    queues: int = 4
    threads: int = 4

    def limit_s(self, size: int) -> float:
        """Returns how long a write of `size` bytes may take: the timeout, plus 1 ns a byte as Mooncake counts."""
        return self.timeout_s + size * 1e-9

    @property
    def hard_timeout_s(self) -> float:
        """After which a write that failed or timed out provably touches no memory any more.

        Mooncake bounds a call by its timeout plus 1 ns a byte (transports.md 6); twice that leaves room for slices
        that were queued when the wait ended.
        """
        return 2 * self.limit_s(self.max_segment_bytes)


class TicketState(Enum):
    """Where a write stands."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class Ticket(Protocol):
    """One write under way."""

    @property
    def state(self) -> TicketState:
        """Where it stands; DONE and FAILED are final."""
        ...

    @property
    def error(self) -> str:
        """What went wrong, one sentence, when FAILED."""
        ...

    @property
    def quiesced(self) -> bool:
        """True when neither side's memory is touched any more."""
        ...

    @property
    def bytes(self) -> int:
        """How much was to be written."""
        ...

    @property
    def seconds(self) -> float:
        """How long it took, waiting for earlier writes included, once final."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Waits until the state is final; returns False when it still is not after `timeout_s`."""
        ...

    def add_done_callback(self, callback: Callable[[Ticket], None]) -> None:
        """Calls `callback(ticket)` once the state is final, on a thread of the transport; at once if it is."""
        ...


class Link(Protocol):
    """The way to one peer's region. Writes complete in the order in which they were given."""

    def write(self, segments: Sequence[Segment], not_after: float | None = None) -> Ticket:
        """Starts writing; returns at once. Never raises: a failure is the ticket's.

        Args:
            not_after: time.monotonic() from which on no segment is begun any more; such a write fails, quiesced.
        """
        ...

    def close(self) -> None:
        """Ends the link; writes under way fail."""
        ...


class Endpoint(Protocol):
    """This process's end of a transport."""

    kind: str

    @property
    def failure(self) -> str:
        """Why no write can succeed any more, in either direction; empty while the transport works."""
        ...

    def register(self, address: int, length: int, file: int = -1) -> None:
        """Makes [address, address + length) readable for our links and writable for peers; once per endpoint.

        Args:
            file: descriptor of the `SharedMemory` that the region is; -1 for memory of this process alone.

        Raises:
            TransferError: the transport refuses the region.
        """
        ...

    def describe(self) -> EndpointInfo:
        """Returns what a peer needs to connect; after `register`."""
        ...

    def connect(self, info: EndpointInfo) -> Link:
        """Opens a link to a peer's region; may defer the actual connection to the first write.

        Raises:
            TransferError: the peer speaks another transport.
        """
        ...

    def close(self) -> None:
        """Ends all links and listeners; returns when their threads and ports are gone."""
        ...
