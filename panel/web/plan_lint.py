"""What the Plan tab says of a pasted command or config: its findings, the corrected text, and a deployment of it.

A thin shell over `panel.lint`, as JSON values. Called by `plan_routes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ...nic_probe import Finding
from ..deployment import dump_deployment
from ..doctor_text import finding_json
from ..lint.importing import import_text
from ..lint.lint import lint_text

__all__ = ["imported", "linted"]


def linted(text: str, name: str, engine_version: str) -> dict[str, Any]:
    """Returns {kind, findings, corrected}; corrected is None when nothing is changed.

    Args:
        text: what was pasted.
        name: how findings call it.
        engine_version: the version that it is for; empty is today's.
    """
    report = lint_text(text, name, engine_version)
    corrected = report.corrected if report.corrected != text else None
    return {"kind": str(report.kind), "findings": _json(report.findings), "corrected": corrected}


def imported(text: str, name: str) -> dict[str, Any]:
    """Returns {text, findings}: the deployment that commands describe, as YAML; text is None when there is none.

    Args:
        text: what was pasted.
        name: where it is from; the deployment is called after it.
    """
    made = import_text(text, re.sub(r"[^A-Za-z0-9]+", "-", name.partition(".")[0]).strip("-")[:40] or "imported")
    return {
        "text": None if made.deployment is None else dump_deployment(made.deployment),
        "findings": _json(made.findings),
    }


def _json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [finding_json(finding) for finding in findings]
