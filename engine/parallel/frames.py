"""How the first rank and another one speak: one msgpack map per frame, with its length before it, over one socket.

Owns the messages by which ranks meet and load beside `orders`, and the framing. Blocking sockets and any thread: a
rank that computes holds up nobody but itself. Called by `leader` and `follower`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import msgspec

from ..errors import RemoteProtocolError
from ..transfer.api import EndpointInfo
from .orders import Count, Order, Report

__all__ = [
    "Down",
    "Ended",
    "Form",
    "Formed",
    "FrameSocket",
    "Joining",
    "Load",
    "Loaded",
    "Pulse",
    "Renew",
    "Renewed",
    "Serve",
    "Up",
    "decode_down",
    "decode_up",
    "encode",
    "tell_end",
]

_LENGTH = struct.Struct("!I")
_MAX_BYTES = 1 << 26
_FIRST_BYTES = 1 << 12
_SEND_S = 5
_TELL_S = 1.0
_KEEPALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000))


class Joining(msgspec.Struct, frozen=True, tag_field="t", tag="joining"):
    """The first frame of a follower.

    Attributes:
        secret: what the ranks were given where they met.
    """

    secret: str
    rank: Count
    pid: int


class Ended(msgspec.Struct, frozen=True, tag_field="t", tag="ended"):
    """The only frame of a node whose rank has ended, since that rank cannot tell how.

    Attributes:
        words: a predicate, with a full stop.
    """

    secret: str
    rank: Count
    words: str


class Load(msgspec.Struct, frozen=True, tag_field="t", tag="load"):
    """Load your part of the model that has this sum.

    Attributes:
        context_length: positions to prepare for.
    """

    model_sha: str
    context_length: Count


class Loaded(msgspec.Struct, frozen=True, tag_field="t", tag="loaded"):
    """A rank has its weights, its KV memory and, on workers that transfer, its endpoint.

    Attributes:
        device: what it computes on; ranks of one node that share a GPU say the same.
    """

    rank: Count
    device: str
    endpoint: EndpointInfo | None = None


class Form(msgspec.Struct, frozen=True, tag_field="t", tag="form"):
    """Make a process group of these ranks, in this order, and shards of the model for them.

    Attributes:
        generation: counts the groups of a worker; 0 is the one that it starts with.
        backend: of the collectives, gloo or nccl.
    """

    generation: Count
    ranks: tuple[Count, ...]
    backend: str = "gloo"


class Formed(msgspec.Struct, frozen=True, tag_field="t", tag="formed"):
    """A rank is in the group."""

    rank: Count
    generation: Count


class Renew(msgspec.Struct, frozen=True, tag_field="t", tag="renew"):
    """Give up KV memory and transport, and take new ones for a worker of these ranks; a `Form` follows.

    Attributes:
        generation: that of the group to come.
    """

    generation: Count
    ranks: tuple[Count, ...]


class Renewed(msgspec.Struct, frozen=True, tag_field="t", tag="renewed"):
    """A rank has done so.

    Attributes:
        endpoint: how peers reach its staging memory from now on; None on a unified worker.
    """

    rank: Count
    generation: Count
    endpoint: EndpointInfo | None = None


class Serve(msgspec.Struct, frozen=True, tag_field="t", tag="serve"):
    """All ranks are ready, and the first one takes requests."""


class Pulse(msgspec.Struct, frozen=True, tag_field="t", tag="pulse"):
    """What a rank says of itself every second: seconds since its start, resident bytes, bounce memory in use."""

    rank: Count
    compute_s: float
    wait_s: float
    cpu_s: float
    resident: Count
    bounce: Count = 0
    lived_s: float = 0.0


Down = Order | Load | Renew | Form | Serve
"""What the first rank says."""

Up = Report | Joining | Loaded | Renewed | Formed | Pulse | Ended
"""What the others say."""

_ENCODER = msgspec.msgpack.Encoder()
_DOWN: msgspec.msgpack.Decoder[Down] = msgspec.msgpack.Decoder(Down)
_UP: msgspec.msgpack.Decoder[Up] = msgspec.msgpack.Decoder(Up)


def decode_down(body: bytes) -> Down:
    """Returns what the first rank said.

    Raises:
        RemoteProtocolError: it is no message.
    """
    try:
        return _DOWN.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RemoteProtocolError(f"The first rank sent what is no order ({error}).") from None


def decode_up(body: bytes) -> Up:
    """Returns what another rank said.

    Raises:
        RemoteProtocolError: it is no message.
    """
    try:
        return _UP.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RemoteProtocolError(f"A rank sent what is no report ({error}).") from None


class FrameSocket:
    """One connection.

    Args:
        connected: a TCP socket; it belongs to this object from now on.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._sending = threading.Lock()
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # A process that was stopped takes nothing; whoever sends must not wait for it for ever.
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_S, 0))
            for name, value in _KEEPALIVE:  # a node that is switched off says nothing
                if hasattr(socket, name):
                    connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    @property
    def own_host(self) -> str:
        """This end's address."""
        return self._socket.getsockname()[0]

    def send(self, message: Down | Up) -> None:
        """Sends a message; messages of one thread arrive in order.

        Raises:
            OSError: the connection is over.
        """
        self.send_bytes(encode(message))

    def send_bytes(self, frame: bytes) -> None:
        """Sends what `encode` returned."""
        with self._sending:
            self._socket.sendall(frame)

    def receive(self, *, first: bool = False) -> bytes | None:
        """Returns the body of the next frame; None when the other end has closed or is gone.

        Args:
            first: of somebody who may be anybody: it has to be short, and soon.

        Raises:
            RemoteProtocolError: the frame is longer than any of ours.
        """
        head = self._read(_LENGTH.size)
        if head is None:
            return None
        (length,) = _LENGTH.unpack(head)
        if length > (_FIRST_BYTES if first else _MAX_BYTES):
            raise RemoteProtocolError(f"A frame of {length} bytes is longer than any of a rank.")
        return self._read(length)

    def _read(self, count: int) -> bytes | None:
        taken = bytearray(count)
        view = memoryview(taken)
        while view:
            try:
                size = self._socket.recv_into(view)
            except OSError:
                return None
            if not size:
                return None
            view = view[size:]
        return bytes(taken)

    def set_timeout(self, seconds: float | None) -> None:
        """Limits how long `receive` waits."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Ends the connection; a `receive` that waits on another thread returns None."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def encode(message: Down | Up) -> bytes:
    """Returns a message as a frame."""
    body = _ENCODER.encode(message)
    return _LENGTH.pack(len(body)) + body


def tell_end(orders: str, rank: int, words: str) -> None:
    """Tells the first rank how a rank of this node ended, if it is still there.

    Args:
        orders: host, port and secret of its connection, with blanks between them.
    """
    host, port, secret = orders.split(" ")
    with contextlib.suppress(OSError):
        link = FrameSocket(socket.create_connection((host, int(port)), timeout=_TELL_S))
        link.send(Ended(secret, rank, words))
        link.close()
