"""Rows between ranks through a KV transport: large one-sided writes, and a small one behind each that says it is there.

Each rank registers one region. For each other rank it has an outbox, and two inboxes used in turn: a rank that is one
exchange ahead has heard from us that we were done with the one before, so two suffice. A write fills the peer's inbox;
behind it, in order, goes a head with size and number, whose arrival the peer waits for. So an exchange costs two writes
for each peer, however many rows there are. Knows nothing of tokens or experts.
"""

from __future__ import annotations

import mmap
import struct
import threading
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import RankError, TransferError
from ..transfer.api import Endpoint, EndpointInfo, Link, Ticket, TicketState
from ..transfer.memory import SharedMemory, address_of
from ..transfer.plan import Segment
from ..transfer.select import SHARED_MEMORY

__all__ = ["TransferRows"]

_HEAD = struct.Struct("<QQQ")  # size, number of the exchange, and both of them mixed: a head that is whole
_HEAD_BYTES = 64
_MIX = 0x9E3779B97F4A7C15
_TURNS = 2
_LOOK_S = 0.05
_LONGEST_PAUSE_S = 1e-3
# Of the time waited so far: who looks all the time takes the transport's own threads their turn.
_PAUSE_SHARE = 0.05


class TransferRows:
    """A rank's region and its links to the others; `connect` before the first exchange.

    Args:
        endpoint: of a transport, with nothing registered yet; belongs to this object from now on.
        most_bytes: that one rank can have for another in one exchange.
        timeout_s: that an exchange waits for another rank.

    Raises:
        TransferError: the transport refuses the region.
    """

    def __init__(self, endpoint: Endpoint, rank: int, size: int, *, most_bytes: int, timeout_s: float) -> None:
        self.rank = rank
        self.size = size
        self.most_bytes: int | None = most_bytes
        self._slot = _HEAD_BYTES + -(-most_bytes // _HEAD_BYTES) * _HEAD_BYTES
        self._timeout_s = timeout_s
        self._endpoint = endpoint
        length = size * (1 + _TURNS) * self._slot
        self._shared = SharedMemory(length) if endpoint.kind in SHARED_MEMORY else None
        self._memory = self._shared.map if self._shared else mmap.mmap(-1, length)
        with torch.inference_mode(False):  # other threads write to it
            self._bytes = torch.frombuffer(self._memory, dtype=torch.uint8)
        endpoint.register(address_of(self._memory), length, self._shared.file if self._shared else -1)
        self._links: dict[int, Link] = {}
        self._number = 1
        self._sizes = [0] * size
        self._under_way: dict[int, tuple[Ticket, ...]] = {}  # by rank
        self._closed = threading.Event()

    def describe(self) -> EndpointInfo:
        """Returns what the other ranks need to connect."""
        return self._endpoint.describe()

    def connect(self, infos: Sequence[EndpointInfo]) -> None:
        """Opens the links.

        Args:
            infos: what `describe` returned, by rank.

        Raises:
            RankError: a rank has another transport, or another number of bytes.
        """
        for rank, info in enumerate(infos):
            if rank == self.rank:
                continue
            if info.length != len(self._bytes):
                problem = f"registered {info.length} bytes for experts where rank {self.rank} has {len(self._bytes)}"
                raise RankError(f"Rank {rank} {problem}: start all ranks with the same arguments.")
            try:
                self._links[rank] = self._endpoint.connect(info)
            except TransferError as error:
                raise RankError(f"Rank {self.rank} cannot send rows to rank {rank}: {error}") from None

    def outboxes(self, sizes: Sequence[int]) -> list[Tensor]:
        """See `rows.RowExchange`."""
        assert self.most_bytes is not None and max(sizes) <= self.most_bytes, f"{sizes} of {self.most_bytes}"
        self._sizes = list(sizes)
        return [self._rows(self._out(rank), size) for rank, size in enumerate(sizes)]

    def exchange(self, receives: Sequence[int] | None = None) -> list[Tensor]:
        """See `rows.RowExchange`; the head of what arrives says how much it is, whatever was known."""
        for rank, link in self._links.items():
            out, there, size = self._out(rank), self._in(self.rank), self._sizes[rank]
            body = (Segment(out + _HEAD_BYTES, there + _HEAD_BYTES, size),)
            _HEAD.pack_into(self._memory, out, size, self._number, size ^ self._number ^ _MIX)
            head = (Segment(out, there, _HEAD.size),)
            self._under_way[rank] = tuple(link.write(part) for part in (body, head) if part[0].length)
        deadline = time.monotonic() + self._timeout_s
        sizes = [self._await(rank, deadline) if rank in self._links else self._sizes[rank] for rank in range(self.size)]
        places = (self._in(rank) if rank in self._links else self._out(rank) for rank in range(self.size))
        arrived = [self._rows(place, size) for place, size in zip(places, sizes, strict=True)]
        self._number += 1
        return arrived

    def close(self) -> None:
        """Ends links and endpoint; a thread that waits in `exchange` gets a RankError."""
        self._closed.set()
        self._endpoint.close()

    def _out(self, rank: int) -> int:
        """Returns where the outbox for a rank begins in the region."""
        return rank * self._slot

    def _in(self, rank: int) -> int:
        """Returns where the inbox begins that is a rank's turn: the same place in the region of every other rank."""
        return (self.size + rank * _TURNS + self._number % _TURNS) * self._slot

    def _rows(self, slot: int, size: int) -> Tensor:
        return self._bytes[slot + _HEAD_BYTES : slot + _HEAD_BYTES + size]

    def _await(self, rank: int, deadline: float) -> int:
        """Waits until the rank has ours of this exchange, and for its own; returns how many bytes these are."""
        for ticket in self._under_way[rank]:
            while not ticket.wait(_LOOK_S):
                self._check(rank, "could not send rows to", deadline)
        self._check(rank, "could not send rows to", deadline)
        began = time.monotonic()
        while True:
            size, number, mixed = _HEAD.unpack_from(self._memory, self._in(rank))
            if number == self._number and mixed == size ^ number ^ _MIX:
                return int(size)
            self._check(rank, "got no rows from", deadline)
            time.sleep(min(_LONGEST_PAUSE_S, (time.monotonic() - began) * _PAUSE_SHARE))

    def _check(self, rank: int, problem: str, deadline: float) -> None:
        """Raises what keeps the exchange with the rank from its end, where that is known, or when it is late."""
        if self._closed.is_set():
            raise RankError(f"Rank {self.rank} has left the exchange of rows.")
        if self._endpoint.failure:
            raise RankError(f"Rank {self.rank} can exchange no rows: {self._endpoint.failure}")
        for ticket in self._under_way[rank]:
            if ticket.state is TicketState.FAILED:
                raise RankError(f"Rank {self.rank} could not send {ticket.bytes} bytes to rank {rank}: {ticket.error}")
        if time.monotonic() > deadline:
            raise RankError(f"Rank {self.rank} {problem} rank {rank} within {self._timeout_s:g} s.")
