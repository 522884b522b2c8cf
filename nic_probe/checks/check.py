"""A Check: one question about a host, its explanation, and the function that answers it.

The same description serves `pdpanel doctor --list`, `--explain` and docs/findings.md. Checks of deployments and
of logs, which the panel owns, describe themselves by the same `Rule`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..finding import Evidence, Finding, Severity

__all__ = ["Check", "Rule"]

T = TypeVar("T")

# owner/repository#number
_ISSUE = re.compile(r"[\w.-]{1,60}/[\w.-]{1,60}#\d{1,7}")
_DOCUMENT = " documentation: "


@dataclass(frozen=True, slots=True)
class Rule:
    """What a finding's id stands for.

    Attributes:
        id: stable, in kebab-case.
        title: what is looked at, as one line for a list.
        explanation: what breaks and why, in a few sentences, for whoever asks.
        references: where it is known from: `owner/repository#number`, a document's title, a measurement.
    """

    id: str
    title: str
    explanation: str
    references: tuple[str, ...] = ()

    def finding(
        self,
        severity: Severity,
        subject: str,
        evidence: Sequence[Evidence],
        reason: str,
        remedy: str = "",
        corrected: str | None = None,
    ) -> Finding:
        """Returns a finding of this rule; the arguments are those of `Finding`.

        The reason ends with where this is known from, unless it says so already.
        """
        return Finding(self.id, severity, subject, tuple(evidence), self._referenced(reason), remedy, corrected)

    def _referenced(self, reason: str) -> str:
        known = next((one for one in self.references if _ISSUE.search(one)), "") or next(
            (one for one in self.references if _DOCUMENT in one), ""
        )
        if not known or _ISSUE.search(reason) or "Mooncake: " in reason or not reason.endswith("."):
            return reason
        return f"{reason[:-1]} ({known})."


@dataclass(frozen=True, slots=True)
class Check(Generic[T]):
    """A rule with the pure function that judges a `T` by it; no finding means that all is well."""

    rule: Rule
    judge: Callable[[T], list[Finding]]
