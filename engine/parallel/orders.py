"""What the first rank of a worker tells the others, and what they answer: msgpack maps, the tag in field "t".

The first rank decides (it has the core, the HTTP API and the channels to peers); every rank, itself included, carries
the same orders out in the same order, so that page numbers mean the same on all ranks of an attention group. Orders
that name a group are for its ranks alone. Frames on the way are length-prefixed; see `ranks`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ..pages import Run, Runs
from ..transfer.api import EndpointInfo

__all__ = [
    "Close",
    "Compute",
    "Connect",
    "Export",
    "Failed",
    "Import",
    "Move",
    "Order",
    "PageRuns",
    "PeerRank",
    "Profile",
    "Profiled",
    "Report",
    "Settle",
    "SpanOrder",
    "Stop",
    "Write",
    "Written",
    "as_page_runs",
    "as_runs",
]

Count = Annotated[int, Meta(ge=0)]
PageRuns = tuple[tuple[Count, Annotated[int, Meta(ge=1)]], ...]
"""Runs of pages as (first page, count)."""


def as_page_runs(runs: Runs) -> PageRuns:
    """Returns runs as they travel."""
    return tuple((run.start, run.count) for run in runs)


def as_runs(runs: PageRuns) -> Runs:
    """Returns what travelled as runs."""
    return tuple(Run(start, count) for start, count in runs)


class SpanOrder(msgspec.Struct, frozen=True, array_like=True):
    """A `TokenSpan`, with the attention group that it belongs to."""

    tokens: tuple[Count, ...]
    start: Count
    slot: Count
    logits: bool
    group: Count = 0


class Compute(msgspec.Struct, frozen=True, tag_field="t", tag="compute"):
    """A forward pass of all ranks together."""

    spans: tuple[SpanOrder, ...]
    tap: bool = False


class Move(msgspec.Struct, frozen=True, tag_field="t", tag="move"):
    """`KVCache.move`."""

    group: Count
    source: Count
    target: Count
    tokens: Count


class Export(msgspec.Struct, frozen=True, tag_field="t", tag="export"):
    """Copy slot pages, from `slot_page` on, into staging pages."""

    group: Count
    slot_page: Count
    staging: PageRuns


class Import(msgspec.Struct, frozen=True, tag_field="t", tag="import"):
    """Copy received pages, or pages kept from an earlier prompt, into slot pages from `slot_page` on.

    Attributes:
        peer: who wrote them, whose ranks say how a received page is divided; empty for pages of this worker's own.
        granted: all pages of the grant; `staging` is `first` pages on from its beginning.
    """

    group: Count
    slot_page: Count
    staging: PageRuns
    peer: str = ""
    granted: PageRuns = ()
    first: Count = 0


class PeerRank(msgspec.Struct, frozen=True):
    """One rank of the other half: where its memory is, and which KV heads [first, stop) it holds for its group."""

    endpoint: EndpointInfo
    group: Count
    first: Count
    stop: Count


class Connect(msgspec.Struct, frozen=True, tag_field="t", tag="connect"):
    """A peer is there: its ranks, in order."""

    peer: str
    ranks: tuple[PeerRank, ...]


class Close(msgspec.Struct, frozen=True, tag_field="t", tag="close"):
    """A peer is gone: close the links to it."""

    peer: str


class Write(msgspec.Struct, frozen=True, tag_field="t", tag="write"):
    """Write own staging pages to the granted pages of a peer's group, `first` pages on from the grant's beginning.

    Attributes:
        ticket: comes back in `Written`.
        lease_until: CLOCK_MONOTONIC seconds; no write may start after it.
    """

    ticket: int
    peer: str
    group: Count
    target_group: Count
    staging: PageRuns
    granted: PageRuns
    first: Count
    lease_until: float


class Settle(msgspec.Struct, frozen=True, tag_field="t", tag="settle"):
    """Answer with a `Written` of no bytes, which says that all orders before this one are carried out.

    Attributes:
        granted: in check mode the whole grant of pages by this peer whose checksums are to come with the answer.
    """

    ticket: int
    group: Count
    peer: str = ""
    granted: PageRuns = ()


class Profile(msgspec.Struct, frozen=True, tag_field="t", tag="profile"):
    """Begin to profile into `folder`, or end with it when `folder` is empty."""

    folder: str = ""


class Stop(msgspec.Struct, frozen=True, tag_field="t", tag="stop"):
    """End, after the orders before this one.

    Attributes:
        reason: why the worker ends that nobody told to; empty for an ordered end.
    """

    reason: str = ""


Order = Compute | Move | Export | Import | Connect | Close | Write | Settle | Profile | Stop


class Written(msgspec.Struct, frozen=True, tag_field="t", tag="written"):
    """A write of one rank has ended; see `transfer.api.Ticket`.

    Attributes:
        digest: in check mode the rank's part of the checksum of each page; see `head_sums`.
    """

    ticket: int
    rank: Count
    ok: bool
    quiet: bool
    error: str
    bytes: Count
    seconds: float
    writes: Count
    digest: tuple[Count, ...] = ()


class Profiled(msgspec.Struct, frozen=True, tag_field="t", tag="profiled"):
    """The profile of one rank lies in this file."""

    rank: Count
    path: str


class Failed(msgspec.Struct, frozen=True, tag_field="t", tag="failed"):
    """A rank cannot go on, for this reason."""

    rank: Count
    reason: str


Report = Written | Profiled | Failed
