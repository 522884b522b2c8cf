"""What prefill and decode workers say to each other: msgpack maps, the tag in field "t"."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from ..errors import RemoteProtocolError
from ..pages import Run, Runs
from ..parallel.orders import PeerRank
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
    "check_ranks",
    "decode_message",
    "encode_message",
]

PROTOCOL = 4

_MOST_RANKS = 1024

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
        ranks: of the worker, in order; empty for a worker of one rank, which `endpoint` is then.
    """

    role: str
    address: str
    epoch: int
    geometry: Geometry
    endpoint: EndpointInfo
    protocol: int = PROTOCOL
    process: ProcessId | None = None
    ranks: Annotated[tuple[PeerRank, ...], Meta(max_length=_MOST_RANKS)] = ()

    @property
    def all_ranks(self) -> tuple[PeerRank, ...]:
        """The ranks, also where there is one."""
        return self.ranks or (PeerRank(self.endpoint, 0, 0, self.geometry.kv_heads),)


class Refused(msgspec.Struct, frozen=True, tag_field="t", tag="refused"):
    """Answer to a Hello that does not fit; the connection is closed after it."""

    reason: str


class Grant(msgspec.Struct, frozen=True, tag_field="t", tag="grant"):
    """Decode to prefill: these staging pages are yours to write, as (first page, count) runs in prompt order.

    Attributes:
        prompt_tokens: what prefill is to compute, output of earlier tries included.
        lease_until: CLOCK_MONOTONIC seconds, which the processes of one host share; no write may start after it.
        group: decode's attention group, whose ranks have the pages.
    """

    room: Room
    runs: tuple[tuple[Count, Annotated[int, Meta(ge=1)]], ...]
    prompt_tokens: Count
    lease_until: float
    group: Count = 0

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
    return check_geometry(ours.geometry, theirs.geometry) or check_ranks(theirs)


def check_geometry(ours: Geometry, theirs: Geometry) -> str | None:
    """Returns which field differs, in words, or None when the geometries are equal."""
    for name in Geometry.__struct_fields__:
        mine, other = getattr(ours, name), getattr(theirs, name)
        if mine != other:
            return f"{name} is {other!r} at the peer and {mine!r} here"
    return None


def check_ranks(hello: Hello) -> str | None:
    """Returns why a worker's ranks cannot exchange KV, or None: each of its groups must hold all KV heads, alike."""
    total = hello.geometry.kv_heads
    groups: dict[int, list[range]] = {}
    for number, rank in enumerate(hello.all_ranks):
        if rank.endpoint.kind != hello.endpoint.kind:
            kinds = f"{rank.endpoint.kind} where the worker's is {hello.endpoint.kind}"
            return f"the transport of the peer's rank {number} is {kinds}"
        if not 0 <= rank.first < rank.stop <= total:
            return f"the peer's rank {number} has KV heads {rank.first} to {rank.stop} of {total}"
        groups.setdefault(rank.group, []).append(range(rank.first, rank.stop))
    if sorted(groups) != list(range(len(groups))):
        return f"the peer's attention groups are {sorted(groups)} where they are counted from 0"
    for group, heads in groups.items():
        if heads != groups[0]:
            return f"the peer's attention group {group} shares the KV heads out otherwise than its group 0"
        if missing := set(range(total)).difference(*heads):
            return f"no rank of the peer's attention group {group} has KV head {min(missing)}"
    return None
