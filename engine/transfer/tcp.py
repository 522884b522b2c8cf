"""KV over plain sockets: the fallback where Mooncake cannot be used, and the yardstick.

A connection opens with the endpoint's secret, without which it is closed. Then each batch of segments is a header (how
many; target offset and length of each; little-endian u64) and all their bytes, received straight into the registered
memory and answered with one status byte. Batches, since each call waits for Python's lock where the process computes.
The listener is bound to the endpoint's host alone.

The limits on standing still are the kernel's (SO_SNDTIMEO, SO_RCVTIMEO): on the receiving side they hold within a
payload, while a connection without one may be idle for ever. Between hosts the kernel grows the socket buffers; within
one they are small, so that bytes are taken while they are still in the processor's cache.
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
from collections.abc import Iterator, Sequence

from ..errors import TransferError
from .address import reachable_host
from .api import EndpointInfo, TransferSettings
from .plan import Segment, outside
from .write_pool import Write, WritePool
from .write_queue import LATE, QueuedLink

__all__ = ["TcpEndpoint"]

_COUNT = struct.Struct("<Q")
_PLACE = struct.Struct("<QQ")
# Segments of one batch, and its bytes where it has several: the kernel takes 1,024 pieces in a call, and no batch is
# begun after the time up to which a write may.
_BATCH_SEGMENTS, _BATCH_BYTES = 512, 64 << 20
_SECRET_BYTES = 32
_ACCEPTED, _OUT_OF_RANGE = b"\x00", b"\x01"
# What a refused writer may still send, so that it reads the refusal instead of a reset.
_DISCARDED_BYTES = 64 << 20
_ACCEPT_PAUSE_S = 0.1
# The kernel doubles it. Twice as much, or half, is a third slower.
_LOCAL_BUFFER_BYTES = 256 << 10


def _memory(address: int, length: int) -> memoryview:
    """Returns the bytes at an address; the caller keeps whatever owns them alive."""
    return memoryview((ctypes.c_char * length).from_address(address)).cast("B")


def _tune(connection: socket.socket, timeout_s: float) -> None:
    """Makes a connection blocking, with limits on how long one call may stand still."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if connection.getsockname()[0] == connection.getpeername()[0]:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, _LOCAL_BUFFER_BYTES)
    limit = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))
    for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, limit)


def _without(pieces: Sequence[memoryview], count: int) -> list[memoryview]:
    """Returns what is left of the pieces behind their first `count` bytes."""
    for number, piece in enumerate(pieces):
        if count < len(piece):
            return [piece[count:], *pieces[number + 1 :]]
        count -= len(piece)
    return []


def _receive_into(connection: socket.socket, target: Sequence[memoryview], *, idle: bool = False) -> None:
    """Fills the pieces of `target`, one after the other, from the connection.

    Args:
        idle: the first byte may take any time.

    Raises:
        OSError: the connection ended, or stood still for its time limit.
    """
    left = [piece for piece in target if piece]
    while left:
        try:
            count = connection.recvmsg_into(left, 0, socket.MSG_WAITALL)[0]
        except BlockingIOError:
            if idle:
                continue
            raise TimeoutError("nothing came within the time limit") from None
        if not count:
            raise ConnectionError("the connection ended")
        left, idle = _without(left, count), False


def _send(connection: socket.socket, pieces: Sequence[memoryview]) -> list[memoryview]:
    """Sends what the kernel takes of the pieces, all of them if it can; returns what is left.

    Raises:
        OSError: the connection ended, or stood still for its time limit; nothing was sent.
    """
    try:
        return _without(pieces, connection.sendmsg(pieces))
    except BlockingIOError:
        raise TimeoutError("nothing was taken within the time limit") from None


def _batches(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Yields the segments that have bytes, in order, as many at a time as go together."""
    batch: list[Segment] = []
    size = 0
    for segment in segments:
        if batch and (len(batch) == _BATCH_SEGMENTS or size + segment.length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        if segment.length:
            batch.append(segment)
            size += segment.length
    if batch:
        yield batch


class _TcpLink(QueuedLink):
    def __init__(self, source: memoryview, info: EndpointInfo, settings: TransferSettings, pool: WritePool) -> None:
        self._source = source
        self._info = info
        self._settings = settings
        self._connection: socket.socket | None = None
        super().__init__(pool, f"tcp {info.session}")

    def close(self) -> None:
        """Ends the link; a write that runs fails."""
        super().close()
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
            for batch in _batches(segments):
                if write.late:  # every earlier batch has been answered
                    ticket.fail(LATE, quiesced=True)
                    return
                deadline = time.monotonic() + self._settings.limit_s(sum(segment.length for segment in batch))
                left = _send(connection, self._pieces(batch))
                untouched = False
                while left:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"{sum(map(len, left))} bytes were left at the deadline")
                    left = _send(connection, left)
                if (status := self._answer(connection)) != _ACCEPTED:
                    self._disconnect()
                    said = "a segment lies outside of its memory" if status == _OUT_OF_RANGE else f"status {status[0]}"
                    problem = f"{self._info.session} refused the write: {said}"
                    ticket.fail(problem, quiesced=status == _OUT_OF_RANGE)
                    return
        except OSError as error:
            # What was sent may still be on its way into the peer's memory.
            self._disconnect()
            ticket.fail(f"the write to {self._info.session} failed: {error}", quiesced=untouched)
            return
        ticket.done()

    def _pieces(self, batch: Sequence[Segment]) -> list[memoryview]:
        places = [_PLACE.pack(segment.target, segment.length) for segment in batch]
        header = memoryview(_COUNT.pack(len(batch)) + b"".join(places))
        return [header, *(self._source[segment.source : segment.source + segment.length] for segment in batch)]

    def _answer(self, connection: socket.socket) -> bytes:
        status = bytearray(1)
        _receive_into(connection, [memoryview(status)])
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
                _receive_into(connection, [memoryview(secret)])
                if hmac.compare_digest(bytes(secret), self._secret.encode()):
                    self._take_writes(connection)
        except OSError:
            return  # the writer went away or stalled; its side of the link reports it
        finally:
            with self._lock:
                self._connections.pop(connection, None)

    def _take_writes(self, connection: socket.socket) -> None:
        count = bytearray(_COUNT.size)
        while True:
            _receive_into(connection, [memoryview(count)], idle=True)
            (segments,) = _COUNT.unpack(count)
            if not 0 < segments <= _BATCH_SEGMENTS:
                return
            header = bytearray(segments * _PLACE.size)
            _receive_into(connection, [memoryview(header)])
            places = list(_PLACE.iter_unpack(header))
            if any(offset + length > len(self._memory) for offset, length in places):
                connection.sendall(_OUT_OF_RANGE)
                self._discard(connection, min(sum(length for _, length in places), _DISCARDED_BYTES))
                return
            _receive_into(connection, [self._memory[offset : offset + length] for offset, length in places])
            connection.sendall(_ACCEPTED)

    @staticmethod
    def _discard(connection: socket.socket, size: int) -> None:
        waste = memoryview(bytearray(min(size, 1 << 20)))
        while size > 0:
            count = min(size, len(waste))
            _receive_into(connection, [waste[:count]])
            size -= count
