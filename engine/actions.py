"""What a core asks the worker to do, in order. Plain values; the worker executes them and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from .pages import Runs
from .request import Finish
from .sequence import Sequence

__all__ = [
    "Action",
    "Emit",
    "ExportPages",
    "ImportPages",
    "SendAbort",
    "SendAck",
    "SendCommit",
    "SendDrained",
    "SendGrant",
]


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell the request's listener about a token, its finish, or both.

    Attributes:
        end: nothing follows although there was no finish: the other half of the pair goes on.
    """

    key: int
    token_ids: tuple[int, ...] = ()
    finish: Finish | None = None
    end: bool = False


@dataclass(frozen=True, slots=True)
class ExportPages:
    """Copy slot pages, from `slot_page` on, into the staging runs, and write those to the granted runs.

    Both runs hold equally many pages.
    """

    sequence: Sequence
    slot_page: int
    staging: Runs
    target: Runs


@dataclass(frozen=True, slots=True)
class ImportPages:
    """Copy the received staging pages into the sequence's slot."""

    sequence: Sequence
    slot_page: int
    staging: Runs


@dataclass(frozen=True, slots=True)
class SendGrant:
    """Decode to prefill: these staging pages are yours to write."""

    sequence: Sequence


@dataclass(frozen=True, slots=True)
class SendCommit:
    """Prefill to decode: everything is written; this is the first token."""

    sequence: Sequence
    first_token: int


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


Action = Emit | ExportPages | ImportPages | SendGrant | SendCommit | SendAck | SendAbort | SendDrained
