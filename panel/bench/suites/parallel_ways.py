"""How expert activations change places between ranks: the engine's exchanges, and the transports beneath them alone.

Each rank has the same bytes for every other one. Used by `parallel_end` in processes of their own; the ways of image
embeddings stand in `parallel_embeddings`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

import msgspec
import torch
from torch._C._distributed_c10d import TCPStore

from ....engine.config import read_environment
from ....engine.errors import PeerError, TransferError
from ....engine.net import free_port
from ....engine.parallel.collective import open_collective
from ....engine.parallel.rows import CollectiveRows, RowExchange
from ....engine.parallel.transfer_rows import TransferRows
from ....engine.transfer.api import EndpointInfo, Segment, TicketState, TransferSettings
from ....engine.transfer.memory import SharedMemory, address_of
from ....engine.transfer.select import open_endpoint
from .transfer_carriers import RawMooncake

__all__ = ["EXCHANGES", "HOST", "SETTINGS", "LinkEnd", "Way", "open_transport"]

HOST = "127.0.0.1"
SETTINGS = TransferSettings()
_PATIENCE_S = 60.0


class Way(Protocol):
    """One end; all ends are moved together."""

    @property
    def sent(self) -> int:
        """Bytes that leave this end with each move."""
        ...

    def address(self) -> str:
        """Returns what the others need to find it."""
        ...

    def meet(self, addresses: Sequence[str]) -> None:
        """Connects; called on all ends at once."""
        ...

    def move(self, *, proven: bool) -> None:
        """Returns when all that is for this end is there, and all that it has for others has left.

        Raises:
            PeerError: other bytes came than were sent.
        """
        ...


def open_transport(backend: str) -> Any:
    """Returns an endpoint of the engine.

    Raises:
        TransferError: it cannot be had here; the text says why.
    """
    selection = open_endpoint(backend, host=HOST, device="", settings=SETTINGS, environ=read_environment().process)
    if selection.notice:
        selection.endpoint.close()
        raise TransferError(selection.notice, quiesced=True)
    return selection.endpoint


class LinkEnd:
    """One end of a transport of the engine, with memory of its own; nothing of ours but its link."""

    def __init__(self, backend: str, size: int) -> None:
        self._memory = SharedMemory(size)
        self._endpoint = open_transport(backend)
        self._endpoint.register(address_of(self._memory.map), size, self._memory.file)

    def address(self) -> str:
        """Returns what the other end needs to `connect`."""
        return msgspec.json.encode(self._endpoint.describe()).decode()

    def connect(self, address: str) -> None:
        """Opens the link."""
        self._link = self._endpoint.connect(msgspec.json.decode(address, type=EndpointInfo))

    def carry(self, segments: Sequence[Segment]) -> None:
        """Returns when all bytes are in the other end's memory.

        Raises:
            TransferError: they are not.
        """
        ticket = self._link.write(segments)
        while not ticket.wait(SETTINGS.hard_timeout_s):
            pass  # no transport leaves a ticket pending
        if ticket.state is not TicketState.DONE:
            raise TransferError(ticket.error, quiesced=ticket.quiesced)


class _Exchange:
    """The engine's exchange of rows; see `engine.parallel.rows`."""

    def __init__(self, rank: int, ends: int, size: int) -> None:
        self._rank, self._ends, self._size = rank, ends, size
        self._rows: RowExchange | None = None

    @property
    def sent(self) -> int:
        return self._size * (self._ends - 1)

    def move(self, *, proven: bool) -> None:
        assert self._rows is not None
        boxes = self._rows.outboxes([0 if to == self._rank else self._size for to in range(self._ends)])
        if proven:
            for to, box in enumerate(boxes):
                box.copy_(self._pattern(self._rank, to)[: len(box)])
        arrived = self._rows.exchange()
        others = [(other, rows) for other, rows in enumerate(arrived) if other != self._rank]
        if proven and not all(torch.equal(rows, self._pattern(other, self._rank)) for other, rows in others):
            raise PeerError("The exchange did not bring the bytes that were sent.")

    def _pattern(self, source: int, target: int) -> torch.Tensor:
        random = torch.Generator().manual_seed(1 + source * self._ends + target)
        return torch.randint(0, 256, (self._size,), generator=random, dtype=torch.uint8)


def _store(rank: int, ends: int, addresses: Sequence[str]) -> TCPStore:
    wait = timedelta(seconds=_PATIENCE_S)
    return TCPStore(HOST, int(addresses[0]), ends, rank == 0, wait, False)


class _GlooExchange(_Exchange):
    def address(self) -> str:
        return str(free_port(HOST))

    def meet(self, addresses: Sequence[str]) -> None:
        store = _store(self._rank, self._ends, addresses)
        self._rows = CollectiveRows(open_collective(store, "rows", self._rank, self._ends, host=HOST))


class _MooncakeExchange(_Exchange):
    def __init__(self, rank: int, ends: int, size: int) -> None:
        super().__init__(rank, ends, size)
        endpoint = open_transport("mooncake_tcp")
        self._own = TransferRows(endpoint, rank, ends, most_bytes=size, timeout_s=_PATIENCE_S)
        self._rows = self._own

    def address(self) -> str:
        return msgspec.json.encode(self._own.describe()).decode()

    def meet(self, addresses: Sequence[str]) -> None:
        self._own.connect([msgspec.json.decode(address, type=EndpointInfo) for address in addresses])


class _RawGloo:
    """torch.distributed's all_to_all with memory that stands ready."""

    def __init__(self, rank: int, ends: int, size: int) -> None:
        self._rank, self._ends = rank, ends
        self._splits = [0 if to == rank else size for to in range(ends)]
        self.sent = size * (ends - 1)
        self._out = torch.full((self.sent,), rank + 1, dtype=torch.uint8)
        self._into = torch.zeros(self.sent, dtype=torch.uint8)

    def address(self) -> str:
        return str(free_port(HOST))

    def meet(self, addresses: Sequence[str]) -> None:
        distributed: Any = importlib.import_module("torch.distributed")
        store = _store(self._rank, self._ends, addresses)
        distributed.init_process_group("gloo", store=store, rank=self._rank, world_size=self._ends)
        self._exchange: Callable[..., Any] = distributed.all_to_all_single

    def move(self, *, proven: bool) -> None:
        self._exchange(self._into, self._out, self._splits, self._splits)
        if proven and not bool((self._into != 0).all()):
            raise PeerError("all_to_all did not bring the bytes that were sent.")


class _Writes:
    """Writes to the other end alone; nobody waits for what comes."""

    def __init__(self, rank: int, ends: int, size: int) -> None:
        assert ends == 2, "each end has one link"
        self._rank, self.sent = rank, size
        self._own = self._open(2 * size)

    def _open(self, size: int) -> RawMooncake | LinkEnd:
        raise NotImplementedError

    def address(self) -> str:
        return self._own.address()

    def meet(self, addresses: Sequence[str]) -> None:
        self._own.connect(addresses[1 - self._rank])

    def move(self, *, proven: bool) -> None:
        self._own.carry([Segment(0, self.sent, self.sent)])


class _RawMooncakeWrites(_Writes):
    def _open(self, size: int) -> RawMooncake | LinkEnd:
        return RawMooncake(SharedMemory(size))


class _LinkWrites(_Writes):
    def _open(self, size: int) -> RawMooncake | LinkEnd:
        return LinkEnd("mooncake_tcp", size)


EXCHANGES: Mapping[str, Callable[[int, int, int], Way]] = {
    "gloo": _GlooExchange,
    "raw gloo": _RawGloo,
    "mooncake": _MooncakeExchange,
    "raw mooncake": _RawMooncakeWrites,
    "mooncake's link": _LinkWrites,
}
"""Ways by name: (number of this end, ends, bytes for each other end)."""
