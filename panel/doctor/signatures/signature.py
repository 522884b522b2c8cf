"""A Signature: one known failure as it stands in a log, with what it means and what to do.

Texts change between versions, so a pattern holds on to the part of the message that stays. Called by
`panel.doctor.log`; the files beside this one hold the known signatures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from ....nic_probe.checks.check import Rule
from ....nic_probe.finding import Severity

__all__ = ["Signature", "Speaker"]

_LONGEST_SHOWN = 200


class Speaker(StrEnum):
    """Who writes the line."""

    MOONCAKE = "Mooncake"
    SGLANG = "SGLang"
    ROUTER = "sglang-router"
    VLLM = "vLLM"
    NIXL = "NIXL"
    NCCL = "NCCL"
    TORCH = "PyTorch"
    PYTHON = "Python"
    HUB = "the model hub's client"
    KERNEL = "the kernel or the C library"
    PDPANEL = "pdpanel"


@dataclass(frozen=True, slots=True)
class Signature:
    """One known failure.

    Attributes:
        needles: lower-case texts of which a matching line holds at least one; they keep most lines away from
            the pattern.
        pattern: a regular expression without unbounded repetition inside another one; letter case does not
            matter. Its named groups may stand in `reason` and `remedy` as `{name}`; `name_2` stands in for
            `name` where that part of the pattern did not match.
        noise_after: True for a line that follows from an earlier error and explains nothing by itself.
        beside_others: True when it counts a line also if another signature explains it.
    """

    rule: Rule
    said_by: Speaker
    severity: Severity
    needles: tuple[str, ...]
    pattern: str
    reason: str
    remedy: str
    noise_after: bool = False
    beside_others: bool = False

    def search(self, text: str, lowered: str) -> re.Match[str] | None:
        """Returns the match in `text`, whose lower-case form is `lowered`; None when there is none."""
        if not any(needle in lowered for needle in self.needles):
            return None
        return _compiled(self.pattern).search(text)

    def fill(self, template: str, match: re.Match[str]) -> str:
        """Returns `reason` or `remedy` with the groups of the match; a group that is absent is "not said"."""
        return template.format_map(_Groups(match.groupdict()))


class _Groups(dict[str, str]):
    """The named groups as they are shown: one line, at most 200 characters."""

    def __init__(self, groups: Mapping[str, str | None]) -> None:
        super().__init__(dict.fromkeys(groups, "not said"))
        for name, value in groups.items():
            if value is not None and value.strip():
                self[name.rstrip("_23")] = value.strip()[:_LONGEST_SHOWN]


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # Compiled when it is first needed: the command line imports every signature for `--list`.
    return re.compile(pattern, re.IGNORECASE)
