"""What prefill and decode workers say to each other: msgpack maps, the tag in field "t"."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from ..errors import RemoteProtocolError
from ..pages import Run, Runs
from ..request import TokenLogprobs
from ..transfer.api import EndpointInfo

__all__ = [
    "PROTOCOL",
    "Abort",
    "Ack",
    "Arrived",
    "Commit",
    "Drained",
    "Geometry",
    "Grant",
    "Hello",
    "Message",
    "Ping",
    "Pong",
    "ProcessId",
    "Refused",
    "check_geometry",
    "check_hello",
    "decode_message",
    "encode_message",
]

PROTOCOL = 3

Room = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Count = Annotated[int, Meta(ge=0)]


class Geometry(msgspec.Struct, frozen=True):
    """What must be equal on both sides for a page to mean the same."""

    model_sha: str
    dtype: str
    page_size: int
    layers: int
    kv_heads: int
    head_dim: int
    layout: str = "page_first"


class ProcessId(msgspec.Struct, frozen=True):
    """Which process this is, for others in the same boot and pid namespace (see `identity`).

    Attributes:
        boot: the kernel's boot id.
        namespace: inode of the pid namespace.
        started: start time in clock ticks, from /proc/PID/stat; a pid that is used again has another one.
    """

    boot: str
    namespace: int
    pid: int
    started: int


class Hello(msgspec.Struct, frozen=True, tag_field="t", tag="hello"):
    """First message in both directions.

    Attributes:
        address: host:port of the worker's HTTP API; names the worker in metrics.
        epoch: drawn at each start; another epoch at the same address is another process.
        process: None where it is not known.
    """

    role: str
    address: str
    epoch: int
    geometry: Geometry
    endpoint: EndpointInfo
    protocol: int = PROTOCOL
    process: ProcessId | None = None


class Refused(msgspec.Struct, frozen=True, tag_field="t", tag="refused"):
    """Answer to a Hello that does not fit; the connection is closed after it."""

    reason: str


class Grant(msgspec.Struct, frozen=True, tag_field="t", tag="grant"):
    """Decode to prefill: these staging pages are yours to write, as (first page, count) runs in prompt order.

    Attributes:
        prompt_tokens: what prefill is to compute, output of earlier tries included.
        lease_until: CLOCK_MONOTONIC seconds, which the processes of one host share; no write may start after it.
    """

    room: Room
    runs: tuple[tuple[Count, Annotated[int, Meta(ge=1)]], ...]
    prompt_tokens: Count
    lease_until: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.lease_until):  # compared with, it would never be over
            raise ValueError(f"lease_until = {self.lease_until} is no time")

    @property
    def pages(self) -> Runs:
        """The granted pages as runs."""
        return tuple(Run(start, count) for start, count in self.runs)


class Arrived(msgspec.Struct, frozen=True, tag_field="t", tag="arrived"):
    """Prefill to decode: the first `pages` granted pages of the room are written; more will follow, or the commit."""

    room: Room
    pages: Count


class Commit(msgspec.Struct, frozen=True, tag_field="t", tag="commit", omit_defaults=True):
    """Prefill to decode: all pages of the room are written.

    Attributes:
        writes: data writes that carried them.
        cached_tokens: of the prompt, not computed for this room because their KV was known.
        logprobs: those of the first token, when the request asks for them.
        digest: in check mode the CRC-32 of each granted page, in the grant's order; else empty.
    """

    room: Room
    first_token: Count
    pages: Count
    bytes: Count
    writes: Count
    cached_tokens: Count = 0
    logprobs: TokenLogprobs | None = None
    digest: tuple[Annotated[int, Meta(ge=0, lt=1 << 32)], ...] = ()


class Ack(msgspec.Struct, frozen=True, tag_field="t", tag="ack"):
    """Decode to prefill: the commit was taken, or the room is unknown here."""

    room: Room
    known: bool


class Abort(msgspec.Struct, frozen=True, tag_field="t", tag="abort"):
    """Either way: the room is given up."""

    room: Room
    reason: str


class Drained(msgspec.Struct, frozen=True, tag_field="t", tag="drained"):
    """Prefill to decode: no write into the room's pages can happen any more."""

    room: Room


class Ping(msgspec.Struct, frozen=True, tag_field="t", tag="ping"):
    """Either way, at intervals: this worker lives.

    Attributes:
        epoch: the sender's, as in its hello.
        free_pages: of its staging pool.
        queue: requests that wait there.
    """

    epoch: int
    free_pages: Count
    queue: Count


class Pong(msgspec.Struct, frozen=True, tag_field="t", tag="pong"):
    """Answer to a ping; the fields are the answering worker's."""

    epoch: int
    free_pages: Count
    queue: Count


Message = Hello | Refused | Grant | Arrived | Commit | Ack | Abort | Drained | Ping | Pong

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def encode_message(message: Message) -> bytes:
    """Returns the message's frame."""
    return _encoder.encode(message)


def decode_message(frame: bytes) -> Message:
    """Returns the message in a frame.

    Raises:
        RemoteProtocolError: it is no message of ours.
    """
    try:
        return _decoder.decode(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: a tag that is no UTF-8
        raise RemoteProtocolError(f"The peer sent a message that cannot be read: {error}.") from None


def check_hello(ours: Hello, theirs: Hello) -> str | None:
    """Returns why the two workers cannot exchange KV, or None when they can."""
    if theirs.protocol != ours.protocol:
        return f"the peer speaks protocol {theirs.protocol} where this worker speaks {ours.protocol}"
    if theirs.role == ours.role:
        return f"both are {ours.role} workers"
    if theirs.endpoint.kind != ours.endpoint.kind:
        return f"the peer's transport is {theirs.endpoint.kind} where this worker's is {ours.endpoint.kind}"
    return check_geometry(ours.geometry, theirs.geometry)


def check_geometry(ours: Geometry, theirs: Geometry) -> str | None:
    """Returns which field differs, in words, or None when the geometries are equal."""
    for name in Geometry.__struct_fields__:
        mine, other = getattr(ours, name), getattr(theirs, name)
        if mine != other:
            return f"{name} is {other!r} at the peer and {mine!r} here"
    return None
