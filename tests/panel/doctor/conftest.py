"""What the tests of the explainer share."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.panel.doctor.log import explain_log


@pytest.fixture
def named() -> Callable[..., set[str]]:
    """Returns the ids that a log's findings have."""

    def ids(*lines: str) -> set[str]:
        return {finding.id for finding in explain_log(lines, "worker.log").findings}

    return ids


@pytest.fixture
def by_id() -> Callable[[Iterable[Finding]], dict[str, Finding]]:
    """Returns findings by their id, the first of each."""

    def table(findings: Iterable[Finding]) -> dict[str, Finding]:
        found: dict[str, Finding] = {}
        for finding in findings:
            found.setdefault(finding.id, finding)
        return found

    return table


@pytest.fixture
def errors() -> Callable[[Iterable[Finding]], list[str]]:
    """Returns the ids of the findings that are errors."""
    return lambda findings: [finding.id for finding in findings if finding.severity is Severity.ERROR]
