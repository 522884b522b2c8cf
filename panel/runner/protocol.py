"""What client and runner say to each other: one JSON object a line over the run's Unix socket.

A request is one line; the answer is any number of Progress lines and then one Reply. Requests name known
processes and never carry a command. `runner.server` answers, `runner.client` asks.
"""

from __future__ import annotations

import msgspec

from .sample_range import SampleRange
from .samples import SampleBatch
from .state import RunRecord

__all__ = [
    "MAX_REQUEST_BYTES",
    "ChangePlan",
    "GetRange",
    "GetSamples",
    "GetStatus",
    "Line",
    "Progress",
    "Reply",
    "Request",
    "RestartProcess",
    "RestartRun",
    "Shutdown",
    "Stop",
    "StopProcess",
]

MAX_REQUEST_BYTES = 65536


class GetStatus(msgspec.Struct, tag_field="op", tag="status", forbid_unknown_fields=True, frozen=True):
    """Asks for the run's record."""


class GetSamples(
    msgspec.Struct, tag_field="op", tag="samples", forbid_unknown_fields=True, frozen=True, omit_defaults=True
):
    """Asks for the rows after row `since`, and for the series unless their version is the `known` one.

    A runner of a version without `known` tells none, so that it is never asked with one.
    """

    since: int = 0
    known: str = ""


class GetRange(msgspec.Struct, tag_field="op", tag="range", forbid_unknown_fields=True, frozen=True):
    """Asks for the rows of a stretch of time, unix seconds, at a resolution of about `most_rows`; no keys mean all."""

    from_s: float
    to_s: float
    most_rows: int = 1000
    keys: tuple[str, ...] = ()


class Stop(msgspec.Struct, tag_field="op", tag="stop", forbid_unknown_fields=True, frozen=True):
    """Asks to end all processes, and then the runner."""


class StopProcess(msgspec.Struct, tag_field="op", tag="stop_process", forbid_unknown_fields=True, frozen=True):
    """Asks to end one process."""

    name: str


class RestartProcess(msgspec.Struct, tag_field="op", tag="restart_process", forbid_unknown_fields=True, frozen=True):
    """Asks to end one process if it runs, and to start it anew."""

    name: str


class RestartRun(msgspec.Struct, tag_field="op", tag="restart", forbid_unknown_fields=True, frozen=True):
    """Asks to end all processes, and to start them anew in their order."""


class ChangePlan(msgspec.Struct, tag_field="op", tag="change_plan", forbid_unknown_fields=True, frozen=True):
    """Asks to go over to the plan that lies in the run's directory, which has more or fewer workers.

    Attributes:
        digest: of that plan and its deployment, so that it is the one that the person has seen.
    """

    digest: str


class Shutdown(msgspec.Struct, tag_field="op", tag="shutdown", forbid_unknown_fields=True, frozen=True):
    """Asks the runner alone to end; the processes go on without one."""


Request = GetStatus | GetSamples | GetRange | Stop | StopProcess | RestartProcess | RestartRun | ChangePlan | Shutdown


class Progress(msgspec.Struct, tag_field="kind", tag="progress", frozen=True):
    """Says what is going on while a request is served."""

    text: str


class Reply(msgspec.Struct, tag_field="kind", tag="reply", frozen=True):
    """Ends the answer: the record or the samples asked for, or an error in one sentence."""

    run: RunRecord | None = None
    samples: SampleBatch | None = None
    range: SampleRange | None = None
    error: str = ""


Line = Progress | Reply
