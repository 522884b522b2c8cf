"""docs/findings.md is made from the rules; this keeps it in step."""

from __future__ import annotations

from pathlib import Path

from pdpanel.panel.doctor.findings_doc import render_findings
from pdpanel.panel.doctor.rules import ALL_RULES

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "findings.md"


def test_the_document_is_what_the_rules_say() -> None:
    assert DOCUMENT.read_text("utf-8") == render_findings(), "make docs/findings.md"


def test_every_rule_has_its_place() -> None:
    text = render_findings()
    assert [rule.id for rule in ALL_RULES if f"\n### {rule.id}\n" not in text] == []
