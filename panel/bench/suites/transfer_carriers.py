"""What can carry KV from one process into another's memory: the engine's transports, and what they are held against.

Used by `transfer_end` in processes of their own. A transport of the engine is its endpoint and link, as in a worker.
"""

from __future__ import annotations

import ctypes
import importlib
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from ....engine.config import read_environment
from ....engine.errors import TransferError
from ....engine.transfer.api import EndpointInfo, Segment, TicketState, TransferSettings
from ....engine.transfer.memory import SharedMemory, address_of
from ....engine.transfer.mooncake import apply_environment, mooncake_environment
from ....engine.transfer.select import open_endpoint

__all__ = ["EXPORT", "IMPORT", "MEMCPY", "PLAIN_SOCKET", "RAW_MOONCAKE", "Carrier", "RawMooncake", "open_carrier"]

RAW_MOONCAKE = "raw mooncake"
PLAIN_SOCKET = "plain socket"
MEMCPY = "memcpy"
EXPORT = "export"
IMPORT = "import"
_HOST = "127.0.0.1"
_SETTINGS = TransferSettings()
_COUNT, _PLACE = struct.Struct("<Q"), struct.Struct("<QQ")


class Carrier(Protocol):
    """One end; which one, its first call says."""

    def address(self) -> str:
        """Receiver: returns what the other end needs to `connect`."""
        ...

    def connect(self, address: str) -> None:
        """Sender: makes the way ready."""
        ...

    def carry(self, segments: Sequence[Segment]) -> None:
        """Sender: returns when all bytes are in the receiver's memory.

        Raises:
            PdpanelError: they are not.
        """
        ...


def open_carrier(name: str, memory: SharedMemory, element: int) -> Carrier:
    """Opens one end with its memory; `name` is a transport of the engine or one of the constants here.

    Args:
        element: bytes of one number of the KV; the staging copies alone need to know.

    Raises:
        PdpanelError: it cannot be had here; the text says why.
    """
    if name in (EXPORT, IMPORT):
        from .transfer_staging import StagingCopy  # torch

        return StagingCopy(memory, element, is_export=name == EXPORT)
    others = {RAW_MOONCAKE: RawMooncake, PLAIN_SOCKET: _PlainSocket, MEMCPY: _Memcpy}
    return others[name](memory) if name in others else _Engine(name, memory)


class _Engine:
    def __init__(self, backend: str, memory: SharedMemory) -> None:
        selection = open_endpoint(
            backend, host=_HOST, device="", settings=_SETTINGS, environ=read_environment().process
        )
        if selection.notice:
            raise TransferError(selection.notice, quiesced=True)
        self._endpoint = selection.endpoint
        self._endpoint.register(address_of(memory.map), memory.length, memory.file)

    def address(self) -> str:
        return msgspec.json.encode(self._endpoint.describe()).decode()

    def connect(self, address: str) -> None:
        self._link = self._endpoint.connect(msgspec.json.decode(address, type=EndpointInfo))

    def carry(self, segments: Sequence[Segment]) -> None:
        ticket = self._link.write(segments)
        while not ticket.wait(_SETTINGS.hard_timeout_s):
            pass  # no transport leaves a ticket pending
        if ticket.state is not TicketState.DONE:
            raise TransferError(ticket.error, quiesced=ticket.quiesced)


class RawMooncake:
    """Mooncake's own batches with nothing of ours around them; its settings are those of our transport."""

    def __init__(self, memory: SharedMemory) -> None:
        apply_environment(mooncake_environment(_SETTINGS, force_tcp=True), read_environment().process)
        try:
            module: Any = importlib.import_module("mooncake.engine")
        except ImportError as error:
            raise TransferError(f"Mooncake cannot be imported: {error}", quiesced=True) from None
        self._engine: Any = module.TransferEngine()
        self._memory = memory  # stays mapped
        self._base = address_of(memory.map)
        codes = (
            self._engine.initialize(_HOST, "P2PHANDSHAKE", "tcp", ""),
            self._engine.register_memory(self._base, memory.length),
        )
        if any(codes):
            raise TransferError(f"Mooncake's engine does not start (codes {codes}).", quiesced=True)

    def address(self) -> str:
        """See `Carrier`."""
        return f"{_HOST}:{self._engine.get_rpc_port()} {self._base}"

    def connect(self, address: str) -> None:
        """See `Carrier`."""
        session, _, base = address.partition(" ")
        self._peer, self._peer_base = session, int(base)
        self._engine.send_probe(session)

    def carry(self, segments: Sequence[Segment]) -> None:
        """See `Carrier`."""
        sources = [self._base + segment.source for segment in segments]
        targets = [self._peer_base + segment.target for segment in segments]
        lengths = [segment.length for segment in segments]
        if code := self._engine.batch_transfer_sync_write(self._peer, sources, targets, lengths):
            raise TransferError(f"Mooncake's batch failed (code {code}).", quiesced=False)


class _PlainSocket:
    """One connection: a header that says where the blocks go, `sendall` of each, `recv_into` of each, one byte back."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memoryview(memory.map)

    def address(self) -> str:
        self._server = socket.create_server((_HOST, 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return str(self._server.getsockname()[1])

    def connect(self, address: str) -> None:
        self._socket = socket.create_connection((_HOST, int(address)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def carry(self, segments: Sequence[Segment]) -> None:
        places = [_PLACE.pack(segment.target, segment.length) for segment in segments]
        self._socket.sendall(_COUNT.pack(len(segments)) + b"".join(places))
        for segment in segments:
            self._socket.sendall(self._memory[segment.source : segment.source + segment.length])
        if self._socket.recv(1) != b"\0":
            raise TransferError("The plain socket was closed.", quiesced=False)

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        count = bytearray(_COUNT.size)
        while self._fill(connection, memoryview(count)):
            places = bytearray(_COUNT.unpack(count)[0] * _PLACE.size)
            self._fill(connection, memoryview(places))
            for target, length in _PLACE.iter_unpack(places):
                self._fill(connection, self._memory[target : target + length])
            connection.sendall(b"\0")

    @staticmethod
    def _fill(connection: socket.socket, target: memoryview) -> bool:
        filled = 0
        while filled < len(target):
            count = connection.recv_into(target[filled:])
            if not count:
                return False
            filled += count
        return True


class _Memcpy:
    """From this memory into more of this process; there is no other end."""

    def __init__(self, memory: SharedMemory) -> None:
        self._target = SharedMemory(memory.length)
        self._source, self._goal = address_of(memory.map), address_of(self._target.map)

    def address(self) -> str:
        return ""

    def connect(self, address: str) -> None:
        ctypes.memset(self._goal, 0, self._target.length)  # touches it

    def carry(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            ctypes.memmove(self._goal + segment.target, self._source + segment.source, segment.length)
