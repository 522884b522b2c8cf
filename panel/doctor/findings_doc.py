"""docs/findings.md: every finding's id with its title, explanation and references. Pure and deterministic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Severity
from .rules import RULE_GROUPS, SEVERITIES

__all__ = ["render_findings"]

_INTRODUCTION = """\
# Findings

What `pdpanel doctor` may say, by id. `pdpanel doctor --explain ID` shows the same in a terminal. This page is \
generated from the rules.

A finding has a severity (info, warning, error, or unknown for what could not be read), a subject, the evidence that \
it rests on, the reason why it matters, and a remedy.
"""


def render_findings(
    groups: Mapping[str, Sequence[Rule]] = RULE_GROUPS, severities: Mapping[str, Severity] = SEVERITIES
) -> str:
    """Returns the page as Markdown, ending in a newline."""
    lines = [_INTRODUCTION]
    for group, rules in groups.items():
        lines += [f"## {group}", ""]
        for rule in sorted(rules, key=lambda rule: rule.id):
            lines += [f"### {rule.id}", "", f"{_escaped(rule.title)}.", ""]
            if rule.id in severities:
                lines += [f"Severity: {severities[rule.id].value}.", ""]
            lines += [_escaped(rule.explanation), ""]
            if rule.references:
                lines += ["Known from: " + ", ".join(map(_reference, rule.references)) + ".", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _reference(text: str) -> str:
    repository, hash_sign, number = text.partition("#")
    if hash_sign and number.isdigit() and repository.count("/") == 1:
        return f"[{text}](https://github.com/{repository}/issues/{number})"
    return _escaped(text)


def _escaped(text: str) -> str:
    """Returns text that Markdown shows as it stands; backquotes keep their meaning."""
    parts = text.split("`")
    for place in range(0, len(parts), 2):
        for char in "*<>[]":
            parts[place] = parts[place].replace(char, "\\" + char)
    return "`".join(parts)


if __name__ == "__main__":
    print(render_findings(), end="")
