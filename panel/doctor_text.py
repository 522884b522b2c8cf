"""Findings as text for a terminal, and as JSON.

Pure. Names and log lines may come from anywhere, so control characters are removed. Called by `cli_doctor`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..nic_probe import Finding, Severity
from ..nic_probe.checks.check import Rule
from .runner.journal import one_line

__all__ = ["count_of", "finding_json", "findings_text", "rule_text"]

_WIDTH = 110
_INDENT = " " * 9
_SHOWN_EVIDENCE = 6


def finding_json(finding: Finding) -> dict[str, Any]:
    """Returns the finding as plain JSON."""
    return asdict(finding) | {"severity": str(finding.severity)}


def count_of(findings: Iterable[Finding], severity: Severity) -> int:
    """Returns how many findings are of this severity."""
    return sum(finding.severity is severity for finding in findings)


def findings_text(findings: Sequence[Finding]) -> str:
    """Returns the findings for a terminal in the order given, ending in a newline."""
    return "".join("\n".join(_finding(finding)) + "\n\n" for finding in findings) + _summary(findings) + "\n"


def _finding(finding: Finding) -> Iterator[str]:
    yield one_line(f"{finding.severity.upper():<8} {finding.id}: {finding.subject}")
    yield from _wrapped("", finding.reason)
    shown = finding.evidence[:_SHOWN_EVIDENCE]
    for evidence in shown:
        yield _INDENT + one_line(f"seen: {evidence.source}: {evidence.value}")
    if len(finding.evidence) > len(shown):
        yield f"{_INDENT}seen: and {len(finding.evidence) - len(shown)} more"
    if finding.corrected is not None:
        yield _INDENT + one_line(f"right: {finding.corrected}")
    # Not wrapped: a remedy holds commands that people copy.
    for number, line in enumerate(finding.remedy.splitlines()):
        yield _INDENT + ("fix: " if number == 0 else "     ") + one_line(line)


def _wrapped(label: str, text: str) -> list[str]:
    indent = _INDENT + " " * len(label)
    return textwrap.wrap(
        one_line(text),
        _WIDTH,
        initial_indent=_INDENT + label,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _summary(findings: Sequence[Finding]) -> str:
    if not findings:
        return "Nothing to remark."
    named = (
        (Severity.ERROR, "error"),
        (Severity.WARNING, "warning"),
        (Severity.UNKNOWN, "not checkable"),
        (Severity.INFO, "to know"),
    )
    counts = [(count_of(findings, severity), name) for severity, name in named]
    return ", ".join(
        f"{count} {name}{'s' if count > 1 and name in _COUNTED else ''}" for count, name in counts if count
    )


_COUNTED = frozenset({"error", "warning"})


def rule_text(rule: Rule) -> str:
    """Returns what a rule is about, for `doctor --explain`, ending in a newline."""
    lines = [f"{rule.id}: {rule.title}", "", *textwrap.wrap(rule.explanation, _WIDTH)]
    if rule.references:
        lines += ["", "Known from: " + ", ".join(rule.references)]
    return "\n".join(lines) + "\n"
