"""KV over plain sockets: the fallback where Mooncake cannot be used, and the yardstick.

A connection opens with the endpoint's secret, without which it is closed. Then each segment is a header (target
offset, length; little-endian u64 each) and its bytes, received straight into the registered memory, and answered with
one status byte. The listener is bound to the endpoint's host alone.

The limits on standing still are the kernel's (SO_SNDTIMEO, SO_RCVTIMEO): on the receiving side they hold within a
payload, while a connection without one may be idle for ever. Socket buffers are left to the kernel, which grows them.
"""

from __future__ import annotations

import contextlib
import ctypes
import hmac
import secrets
import socket
import struct
import threading
import time
from collections.abc import Sequence

from ..errors import TransferError
from .address import reachable_host
from .api import EndpointInfo, TransferSettings
from .plan import Segment, outside
from .ticket import WriteTicket
from .write_pool import Write, WritePool
from .write_queue import LATE, WriteQueue

__all__ = ["TcpEndpoint"]

_HEADER = struct.Struct("<QQ")
_SECRET_BYTES = 32
_ACCEPTED, _OUT_OF_RANGE = b"\x00", b"\x01"
# What a refused writer may still send, so that it reads the refusal instead of a reset.
_DISCARDED_BYTES = 64 << 20
_ACCEPT_PAUSE_S = 0.1


def _memory(address: int, length: int) -> memoryview:
    """Returns the bytes at an address; the caller keeps whatever owns them alive."""
    return memoryview((ctypes.c_char * length).from_address(address)).cast("B")


def _tune(connection: socket.socket, timeout_s: float) -> None:
    """Makes a connection blocking, with limits on how long one call may stand still."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    limit = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))
    for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, limit)


def _receive_into(connection: socket.socket, target: memoryview, *, idle: bool = False) -> None:
    """Fills `target` from the connection.

    Args:
        idle: the first byte may take any time.

    Raises:
        OSError: the connection ended, or stood still for its time limit.
    """
    filled = 0
    while filled < len(target):
        try:
            count = connection.recv_into(target[filled:], 0, socket.MSG_WAITALL)
        except BlockingIOError:
            if idle and not filled:
                continue
            raise TimeoutError("nothing came within the time limit") from None
        if not count:
            raise ConnectionError("the connection ended")
        filled += count


def _send(connection: socket.socket, data: memoryview, deadline: float) -> None:
    """Sends all of `data`.

    Raises:
        OSError: the connection ended, stood still for its time limit, or the deadline passed.
    """
    sent = 0
    while sent < len(data):
        try:
            sent += connection.send(data[sent:])
        except BlockingIOError:
            raise TimeoutError("nothing was taken within the time limit") from None
        if sent < len(data) and time.monotonic() > deadline:
            raise TimeoutError(f"{len(data) - sent} bytes were left at the deadline")


class _TcpLink:
    def __init__(self, source: memoryview, info: EndpointInfo, settings: TransferSettings, pool: WritePool) -> None:
        self._source = source
        self._info = info
        self._settings = settings
        self._connection: socket.socket | None = None
        self._queue = WriteQueue(pool, f"tcp {info.session}", self._write)

    @property
    def closed(self) -> bool:
        """True from the moment on when `close` was called."""
        return self._queue.closed

    def write(self, segments: Sequence[Segment], not_after: float | None = None) -> WriteTicket:
        """Starts writing; returns at once."""
        return self._queue.put(segments, not_after)

    def close(self) -> None:
        """Ends the link; a write that runs fails."""
        self._queue.close(self._interrupt)
        self._disconnect()

    def _interrupt(self) -> None:
        if (connection := self._connection) is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> socket.socket:
        """Connects; the connection is known before, so that closing the link ends this too."""
        host, _, port = self._info.session.rpartition(":")
        family, _, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        connection = self._connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(self._settings.timeout_s)
        connection.connect(address)
        _tune(connection, self._settings.timeout_s)
        connection.sendall(self._info.secret.encode())
        return connection

    def _disconnect(self) -> None:
        """Closes the connection; what the kernel has not sent yet is dropped, since nobody waits for it."""
        if (connection := self._connection) is not None:
            self._connection = None
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
            connection.close()

    def _write(self, write: Write) -> None:
        segments, ticket = write.segments, write.ticket
        if problem := outside(segments, len(self._source), self._info.length):
            ticket.fail(problem, quiesced=True)
            return
        untouched = True
        try:
            connection = self._connection or self._connect()
            if self.closed:  # while it connected
                ticket.fail("the link was closed before the write began", quiesced=True)
                return
            for segment in segments:
                if write.late:  # every earlier segment has been answered
                    ticket.fail(LATE, quiesced=True)
                    return
                deadline = time.monotonic() + self._settings.limit_s(segment.length)
                connection.sendall(_HEADER.pack(segment.target, segment.length))
                untouched = False
                payload = self._source[segment.source : segment.source + segment.length]
                _send(connection, payload, deadline)
                if (status := self._answer(connection)) != _ACCEPTED:
                    self._disconnect()
                    said = "it lies outside of its memory" if status == _OUT_OF_RANGE else f"status {status[0]}"
                    ticket.fail(f"{self._info.session} refused {segment}: {said}", quiesced=status == _OUT_OF_RANGE)
                    return
        except OSError as error:
            # What was sent may still be on its way into the peer's memory.
            self._disconnect()
            ticket.fail(f"the write to {self._info.session} failed: {error}", quiesced=untouched)
            return
        ticket.done()

    def _answer(self, connection: socket.socket) -> bytes:
        status = bytearray(1)
        _receive_into(connection, memoryview(status))
        return bytes(status)


class TcpEndpoint:
    """A listener for peers' writes, and links to peers.

    Args:
        host: address to listen on.
    """

    kind = "tcp"
    failure = ""

    def __init__(self, host: str, settings: TransferSettings) -> None:
        self._settings = settings
        self._secret = secrets.token_hex(_SECRET_BYTES // 2)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listener = socket.create_server((host, 0), family=family)
        except OSError as error:
            raise TransferError(f"Cannot listen on {host}: {error}", quiesced=True) from None
        self._session = f"{reachable_host(host)}:{self._listener.getsockname()[1]}"
        self._pool = WritePool("tcp", queues=settings.queues, threads=settings.threads)
        self._region = (0, 0)
        self._memory = memoryview(b"")
        self._links: list[_TcpLink] = []
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._acceptor = threading.Thread(target=self._accept, name="tcp accept", daemon=True)
        self._acceptor.start()

    def register(self, address: int, length: int, file: int = -1) -> None:
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
        link = _TcpLink(self._memory, info, self._settings, self._pool)
        self._links = [*(known for known in self._links if not known.closed), link]
        return link

    def close(self) -> None:
        """Ends links, connections and the listener; their threads are gone when it returns."""
        for link in self._links:
            link.close()
        self._pool.close()
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            connections = dict(self._connections)
        for connection, thread in connections.items():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed, or out of descriptors: then it waits for better times
                self._closed.wait(_ACCEPT_PAUSE_S)
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), name="tcp receive", daemon=True)
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                _tune(connection, self._settings.timeout_s)
                secret = bytearray(_SECRET_BYTES)
                _receive_into(connection, memoryview(secret))
                if hmac.compare_digest(bytes(secret), self._secret.encode()):
                    self._take_writes(connection)
        except OSError:
            return  # the writer went away or stalled; its side of the link reports it
        finally:
            with self._lock:
                self._connections.pop(connection, None)

    def _take_writes(self, connection: socket.socket) -> None:
        header = bytearray(_HEADER.size)
        while True:
            _receive_into(connection, memoryview(header), idle=True)
            offset, length = _HEADER.unpack(header)
            if offset + length > len(self._memory):
                connection.sendall(_OUT_OF_RANGE)
                self._discard(connection, min(length, _DISCARDED_BYTES))
                return
            _receive_into(connection, self._memory[offset : offset + length])
            connection.sendall(_ACCEPTED)

    @staticmethod
    def _discard(connection: socket.socket, size: int) -> None:
        waste = memoryview(bytearray(min(size, 1 << 20)))
        while size > 0:
            count = min(size, len(waste))
            _receive_into(connection, waste[:count])
            size -= count
