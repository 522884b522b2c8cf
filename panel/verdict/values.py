"""What a verdict on a run is made of: what limits it, why, and what to try. Values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Action", "Limit", "Seen", "Suggestion", "Verdict"]


class Limit(StrEnum):
    """What limits a run; `UNIFIED` is a worker that does prefill and decode, `UNKNOWN` means that nobody can tell."""

    PREFILL = "prefill"
    DECODE = "decode"
    UNIFIED = "unified"
    TRANSFER = "transfer"
    ROUTER = "router"
    NOTHING = "nothing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Seen:
    """One number behind a verdict.

    Attributes:
        series: the samples that it comes from.
        value: in `unit`; a share is 0 to 1.
        meaning: what it says, in a few words.
        unit: share, requests, requests/s, s, B/s or cores.
        of: the most that it can be; None where there is none.
    """

    series: str
    value: float
    meaning: str
    unit: str
    of: float | None = None


class Action(StrEnum):
    """What the panel can open for a suggestion."""

    NONE = ""
    PLAN = "plan"
    PROOF = "proof"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One thing to try.

    Attributes:
        text: one sentence.
        action: what helps to do it.
        changes: fields of the deployment and the values that the sentence names, such as `prefill.count`.
    """

    text: str
    action: Action = Action.NONE
    changes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement over one window of samples.

    Attributes:
        confidence: 0 to 1: how far the limit stands out from the next part, times how much of the window is known.
        sentence: for people, whole.
        gain: how many times the throughput that twice as fast a limit is expected to give.
        gains: the same for every part that was looked at.
        window_s: how long the samples span.
    """

    limit: Limit
    confidence: float
    sentence: str
    evidence: tuple[Seen, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    gain: float = 1.0
    gains: Mapping[str, float] = field(default_factory=dict)
    window_s: float = 0.0
