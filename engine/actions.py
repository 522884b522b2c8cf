"""What a core asks the worker to do, in order. Plain values; the worker executes them and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from .pages import Runs
from .request import Finish, Scores
from .sequence import Sequence

__all__ = [
    "Action",
    "Emit",
    "ExportPages",
    "FenceLifted",
    "ImportPages",
    "SendAbort",
    "SendAck",
    "SendCommit",
    "SendDrained",
    "SendGrant",
    "WritePages",
]


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell the request's listener about a token, its finish, or both.

    Attributes:
        end: nothing follows although there was no finish: the other half of the pair goes on.
        scores: the log probabilities of the tokens, when they are asked for.
        cached_tokens: prompt tokens whose KV was not computed for this request, known with its first token.
    """

    key: int
    token_ids: tuple[int, ...] = ()
    finish: Finish | None = None
    end: bool = False
    scores: Scores | None = None
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ExportPages:
    """Copy slot pages, from `slot_page` on, into the staging runs, and write those to the granted runs.

    Both runs hold equally many pages, which are `first` pages on from the beginning of the grant (`sequence.target`).
    """

    sequence: Sequence
    slot_page: int
    staging: Runs
    target: Runs
    first: int = 0


@dataclass(frozen=True, slots=True)
class WritePages:
    """Write staging pages, which stand complete, to the granted runs of equally many pages; see `ExportPages`."""

    sequence: Sequence
    staging: Runs
    target: Runs
    first: int = 0


@dataclass(frozen=True, slots=True)
class ImportPages:
    """Copy staging pages, received or kept from earlier prompts, into the sequence's slot.

    Attributes:
        granted: of received pages the whole grant, which `staging` is `first` pages on in; empty for pages of our own.
    """

    sequence: Sequence
    slot_page: int
    staging: Runs
    granted: Runs = ()
    first: int = 0


@dataclass(frozen=True, slots=True)
class SendGrant:
    """Decode to prefill: these staging pages are yours to write."""

    sequence: Sequence


@dataclass(frozen=True, slots=True)
class SendCommit:
    """Prefill to decode: everything is written; this is the first token.

    Leaves as soon as every write of the room that was asked for before is complete, and never when one of them failed.

    Attributes:
        again: it was sent before and no acknowledgement came.
    """

    sequence: Sequence
    first_token: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class SendAck:
    """Decode to prefill: the commit of this room was taken, or the room is unknown here."""

    peer: str
    room: int
    known: bool


@dataclass(frozen=True, slots=True)
class SendAbort:
    """To the other half: this room is given up."""

    peer: str
    room: int
    reason: str


@dataclass(frozen=True, slots=True)
class SendDrained:
    """Prefill to decode: no write into this room's pages can happen any more."""

    peer: str
    room: int


@dataclass(frozen=True, slots=True)
class FenceLifted:
    """Pages that a peer might still have written are free again.

    Attributes:
        why: "drained", prefill said so (a moment later where this process had just stood still); "replaced", its
            process is another one; "dead", its process is gone and the transport's hard timeout is over; "lease",
            nothing was heard, lease and hard timeout are over; "renewed", the pages are other memory now. Those between
            were lifted by a timer.
    """

    peer: str
    room: int
    pages: int
    why: str


Action = (
    Emit
    | ExportPages
    | WritePages
    | ImportPages
    | SendGrant
    | SendCommit
    | SendAck
    | SendAbort
    | SendDrained
    | FenceLifted
)
