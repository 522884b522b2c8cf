from __future__ import annotations

import pytest
from pdpanel.nic_probe.finding import Severity
from pdpanel.panel.doctor.harmless import HARMLESS, is_harmless
from pdpanel.panel.doctor.log import explain_log
from pdpanel.panel.doctor.rules import ALL_RULES
from pdpanel.panel.doctor.signatures.catalog import SIGNATURES
from pdpanel.panel.logs.level import Level, level_of
from pdpanel.panel.logs.marks import explain_text

LINES = {
    "log-harmless-local-segment": "E1121 18:53:01.321669 27421 transfer_metadata.cpp:1098] Local segment descriptor "
    "not found",
    "log-harmless-glog": "WARNING: Logging before InitGoogleLogging() is written to STDERR",
    "log-harmless-ignored-exception": "Exception ignored in: <function Pool.__del__ at 0x7f00>",
    "log-harmless-elastic": "ERROR torch.distributed.elastic.multiprocessing.errors: recording to /tmp/x",
    "log-harmless-profiler": "ERROR: External init callback must run in same thread as registerClient (104 != -67)",
    "log-harmless-nccl-setting": "[W1121 CUDAUtils.hpp:1] Warning: Environment variable NCCL_ASYNC_ERROR_HANDLING is "
    "deprecated",
}


def test_every_harmless_line_has_a_case_and_a_rule() -> None:
    ids = [signature.rule.id for signature in HARMLESS]
    assert sorted(LINES) == sorted(ids)
    assert set(ids) <= {rule.id for rule in ALL_RULES}


@pytest.mark.parametrize(("rule", "line"), LINES.items(), ids=LINES.keys())
def test_it_is_no_error_anywhere_and_its_mark_says_why(rule: str, line: str) -> None:
    assert is_harmless(line)
    assert level_of(line) <= Level.INFO
    told = explain_text(line, "byte 0")
    assert told is not None and (told.id, told.severity) == (rule, Severity.INFO)
    assert told.reason.startswith("Harmless: ") and told.remedy
    report = explain_log([line], "a.log")
    assert (report.findings, report.first_error) == ((), "")


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_no_known_failure_has_such_a_line(line: str) -> None:
    assert [signature.rule.id for signature in SIGNATURES if signature.search(line, line.lower())] == []


def test_an_error_of_the_same_module_stays_an_error() -> None:
    line = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: "
    assert not is_harmless(line)
    assert level_of(line) is Level.ERROR
