"""A Finding: the one shape of every check, lint and explanation.

Owned here so that checks of a host and of a plan read the same everywhere. Values alone: knows no host, no
panel and no way to show itself. Called by `checks` and by whoever judges something and has to say why.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Evidence", "Finding", "Severity"]


class Severity(StrEnum):
    """How much a finding matters; `unknown` means that what had to be read could not be read."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation behind a finding.

    Attributes:
        source: where it was read: a path, a command, a library.
        value: what was read there, or why it could not be read.
    """

    source: str
    value: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One judgement with what it rests on.

    Attributes:
        id: the check's stable name in kebab-case, such as `rdma-none`.
        subject: what the finding is about: a device, a port, a field.
        evidence: the observations, in the order in which they led to the judgement.
        reason: one sentence on what follows from the evidence.
        remedy: one sentence on what to do; empty when nothing has to be done.
        corrected: the value that would be right, where one is known.
    """

    id: str
    severity: Severity
    subject: str
    evidence: tuple[Evidence, ...]
    reason: str
    remedy: str = ""
    corrected: str | None = None
