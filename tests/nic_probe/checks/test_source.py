"""What a source does not tell, from values that a test makes."""

from __future__ import annotations

import pytest
from check_case import Case, found, make_state, make_view, roce_nic
from pdpanel.nic_probe.finding import Severity
from simulated_host import read

CASES = (
    Case(
        "facts-missing",
        Severity.UNKNOWN,
        lambda: make_view(live=False, state=make_state(facts_missing=("environ", "packages"))),
        lambda: make_view(live=False),
        "probe --dump",
    ),
    Case("not-checkable", Severity.INFO, make_view, lambda: make_view((), ()), "mlnx_qos -i eth1"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_each_missing_fact_is_named() -> None:
    (finding,) = found("facts-missing", CASES[0].fires())
    assert [evidence.value for evidence in finding.evidence] == [
        "without environ (variables)",
        "without packages (Python packages)",
    ]


def test_a_live_host_that_did_not_answer_is_worth_a_word() -> None:
    (finding,) = found("facts-missing", make_view(state=make_state(facts_missing=("clock",))))
    assert finding.severity is Severity.INFO


def test_only_what_the_host_has_is_listed() -> None:
    (finding,) = found("not-checkable", make_view(nics=()))
    assert finding.remedy == "sudo dmesg | grep -i xid"
    infiniband = roce_nic(0, port={"link_layer": read("InfiniBand")})
    (finding,) = found("not-checkable", make_view((), (infiniband,)))
    assert finding.remedy == "sudo lspci -vvv | grep MaxReadReq"
