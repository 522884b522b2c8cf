from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.finding import Severity
from pdpanel.panel.doctor.exit_code import RULES, explain_process_exit


@pytest.mark.parametrize(
    ("code", "rule", "severity"),
    [
        (137, "exit-killed", Severity.ERROR),
        (-9, "exit-killed", Severity.ERROR),
        (139, "exit-crashed", Severity.ERROR),
        (-11, "exit-crashed", Severity.ERROR),
        (135, "exit-crashed", Severity.ERROR),
        (132, "exit-crashed", Severity.ERROR),
        (136, "exit-crashed", Severity.ERROR),
        (134, "exit-aborted", Severity.ERROR),
        (-6, "exit-aborted", Severity.ERROR),
        (143, "exit-stopped", Severity.INFO),
        (-15, "exit-stopped", Severity.INFO),
        (130, "exit-stopped", Severity.INFO),
        (129, "exit-stopped", Severity.INFO),
        (126, "exit-not-started", Severity.ERROR),
        (127, "exit-not-started", Severity.ERROR),
        (2, "exit-refused", Severity.ERROR),
        (1, "exit-failed", Severity.ERROR),
        (-10, "exit-failed", Severity.ERROR),
        (255, "exit-failed", Severity.ERROR),
    ],
)
def test_a_code_is_explained(code: int, rule: str, severity: Severity) -> None:
    (finding,) = explain_process_exit(code, ["bye"], "decode-0")
    assert (finding.id, finding.severity) == (rule, severity)
    assert finding.subject == "decode-0"


def test_every_rule_is_reached() -> None:
    codes = (137, 139, 134, 143, 127, 2, 1)
    assert {explain_process_exit(code)[0].id for code in codes} == {rule.id for rule in RULES}


def test_success_needs_no_explanation() -> None:
    assert explain_process_exit(0, ["ValueError: x"]) == ()


def test_the_end_of_the_log_is_explained_with_it() -> None:
    tail = [b"Unable to find metadata storage plugin redis with conn string: redis://10.0.0.1:6379"]
    findings = explain_process_exit(134, tail, "prefill-0")
    assert [finding.id for finding in findings] == ["exit-aborted", "log-metadata-plugin"]
    assert "redis" in findings[1].reason


@given(st.integers(-(2**40), 2**40), st.lists(st.text(max_size=40), max_size=3))
def test_no_code_raises(code: int, tail: list[str]) -> None:
    findings = explain_process_exit(code, tail)
    assert bool(findings) == (code != 0)
