"""KV over plain sockets: the fallback where Mooncake cannot be used, and the yardstick.

A connection opens with the endpoint's secret, without which it is closed. Then each segment is a header (target
offset, length; little-endian u64 each) and its bytes, received straight into the registered memory, and answered with
one status byte. The listener is bound to the endpoint's host alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import hmac
import secrets
import socket
import struct
import threading
from collections.abc import Sequence

from ..errors import TransferError
from .api import EndpointInfo, TransferSettings
from .plan import Segment
from .ticket import WriteTicket
from .write_queue import WriteQueue

__all__ = ["TcpEndpoint"]

_HEADER = struct.Struct("<QQ")
_SECRET_BYTES = 32
_ACCEPTED, _OUT_OF_RANGE = b"\x00", b"\x01"
_SOCKET_BUFFER = 4 << 20


def _memory(address: int, length: int) -> memoryview:
    """Returns the bytes at an address; the caller keeps whatever owns them alive."""
    return memoryview((ctypes.c_char * length).from_address(address)).cast("B")


def _receive_into(connection: socket.socket, target: memoryview) -> None:
    """Fills `target` from the connection.

    Raises:
        ConnectionError: it ended before.
    """
    filled = 0
    while filled < len(target):
        count = connection.recv_into(target[filled:])
        if not count:
            raise ConnectionError("the connection ended")
        filled += count


def _tune(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)


class _TcpLink:
    def __init__(self, source: memoryview, info: EndpointInfo, settings: TransferSettings) -> None:
        self._source = source
        self._info = info
        self._settings = settings
        self._connection: socket.socket | None = None
        self._queue = WriteQueue(f"tcp {info.session}", self._write)

    def write(self, segments: Sequence[Segment]) -> WriteTicket:
        """Starts writing; returns at once."""
        return self._queue.put(segments)

    def close(self) -> None:
        """Ends the link; a write that runs fails."""
        if (connection := self._connection) is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._queue.close()
        self._disconnect()

    def _connect(self) -> socket.socket:
        host, _, port = self._info.session.rpartition(":")
        connection = socket.create_connection((host, int(port)), timeout=self._settings.timeout_s)
        _tune(connection)
        connection.sendall(self._info.secret.encode())
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _write(self, segments: Sequence[Segment], ticket: WriteTicket) -> None:
        for segment in segments:
            if segment.source < 0 or segment.source + segment.length > len(self._source):
                ticket.fail(f"{segment} lies outside of the registered source", quiesced=True)
                return
        untouched = True
        try:
            if self._connection is None:
                self._connection = self._connect()
            for segment in segments:
                self._connection.sendall(_HEADER.pack(segment.target, segment.length))
                untouched = False
                self._connection.sendall(self._source[segment.source : segment.source + segment.length])
                status = self._connection.recv(1)
                if status != _ACCEPTED:
                    reason = "the target lies outside of its memory" if status else "the peer closed the connection"
                    self._disconnect()
                    ticket.fail(f"{self._info.session} refused a write: {reason}", quiesced=status == _OUT_OF_RANGE)
                    return
        except OSError as error:
            # What was sent may still be on its way into the peer's memory.
            self._disconnect()
            ticket.fail(f"the write to {self._info.session} failed: {error}", quiesced=untouched)
            return
        ticket.done()


class TcpEndpoint:
    """A listener for peers' writes, and links to peers.

    Args:
        host: address to listen on.
    """

    kind = "tcp"

    def __init__(self, host: str, settings: TransferSettings) -> None:
        self._settings = settings
        self._secret = secrets.token_hex(_SECRET_BYTES // 2)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listener = socket.create_server((host, 0), family=family)
        except OSError as error:
            raise TransferError(f"Cannot listen on {host}: {error}", quiesced=True) from None
        self._session = f"{host}:{self._listener.getsockname()[1]}"
        self._region = (0, 0)
        self._memory = memoryview(b"")
        self._links: list[_TcpLink] = []
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._acceptor = threading.Thread(target=self._accept, name="tcp accept", daemon=True)
        self._acceptor.start()

    def register(self, address: int, length: int) -> None:
        """Makes the region readable for our links and writable for peers."""
        self._region = (address, length)
        self._memory = _memory(address, length)

    def describe(self) -> EndpointInfo:
        """Returns what a peer needs to connect."""
        return EndpointInfo(self.kind, self._session, *self._region, self._secret)

    def connect(self, info: EndpointInfo) -> _TcpLink:
        """Opens a link; it connects with the first write."""
        if info.kind != self.kind:
            raise TransferError(f"The peer's transport is {info.kind}, ours is {self.kind}.", quiesced=True)
        link = _TcpLink(self._memory, info, self._settings)
        self._links.append(link)
        return link

    def close(self) -> None:
        """Ends links, connections and the listener; their threads are gone when it returns."""
        for link in self._links:
            link.close()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        with self._lock:
            connections = dict(self._connections)
        for connection, thread in connections.items():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            thread = threading.Thread(target=self._serve, args=(connection,), name="tcp receive", daemon=True)
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                _tune(connection)
                connection.settimeout(self._settings.timeout_s)
                secret = bytearray(_SECRET_BYTES)
                _receive_into(connection, memoryview(secret))
                if not hmac.compare_digest(bytes(secret), self._secret.encode()):
                    return
                connection.settimeout(None)
                self._take_writes(connection)
        except OSError:
            return  # the writer went away or stalled; its side of the link reports it
        finally:
            with self._lock:
                self._connections.pop(connection, None)

    def _take_writes(self, connection: socket.socket) -> None:
        header = bytearray(_HEADER.size)
        while True:
            _receive_into(connection, memoryview(header))
            offset, length = _HEADER.unpack(header)
            if offset + length > len(self._memory):
                connection.sendall(_OUT_OF_RANGE)
                return
            _receive_into(connection, self._memory[offset : offset + length])
            connection.sendall(_ACCEPTED)
