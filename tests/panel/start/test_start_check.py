from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import CapacityError, ConfigError
from pdpanel.nic_probe.finding import Evidence, Finding, Severity
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.doctor.rules import ALL_RULES
from pdpanel.panel.start.start_check import RULES, StartReport, Surroundings, check_start


def here(
    cores: int = 8, free: int | None = 1 << 34, lacks: str = "", sizes: dict[str, int] | None = None
) -> Surroundings:
    return Surroundings(cores, free, lambda package: package != lacks, lambda name: (sizes or {}).get(name))


def look(
    prefill: int = 1,
    decode: int = 1,
    around: Surroundings | None = None,
    refused: Any = None,
    told: Any = (),
    **fields: Any,
) -> StartReport:
    deployment = parse_deployment(
        {"prefill": {"count": prefill}, "decode": {"count": decode}, "model": "a-model", **fields}
    )
    return check_start(deployment, told, refused, around or here())


def ids(report: StartReport) -> list[str]:
    return [finding.id for finding in report.findings]


def test_a_deployment_that_fits_has_nothing_in_its_way() -> None:
    assert look() == StartReport((), (), False)


def test_what_a_start_refuses_comes_first_and_blocks() -> None:
    note = Finding("deployment-open", Severity.INFO, "x", (), "Said.")
    error = ConfigError("model", "x", "is not here", "install it")
    report = look(refused=error, told=(note,))
    assert ids(report) == ["start-refused", "deployment-open"]
    first = report.findings[0]
    assert (first.subject, first.evidence[0].value) == ("model", "x")
    assert "is not here" in first.reason
    assert first.remedy == "Install it."
    assert report.blocked


def test_the_doctors_own_words_for_a_refused_plan_are_not_repeated() -> None:
    own = Finding("deployment-plan", Severity.ERROR, "ports", (), "No plan can be made for this deployment.")
    assert ids(look(refused=CapacityError("The band of ports is full."), told=(own,))) == ["start-refused"]


def test_a_taken_port_is_mended_by_the_free_one_that_the_plan_names() -> None:
    error = ConfigError("router.port", 8000, "is in use on here", "write 8007, which is free, or leave it out")
    (fix,) = look(refused=error).fixes
    assert (fix.path, fix.value, fix.label) == ("router.port", 8007, "Use port 8007 instead")


@pytest.mark.parametrize(
    ("transport", "package"), [("nixl", "nixl"), ("mooncake", "mooncake"), ("mooncake_tcp", "mooncake")]
)
def test_a_transport_without_its_package_blocks_and_tcp_mends_it(transport: str, package: str) -> None:
    report = look(transport=transport, around=here(lacks=package))
    assert ids(report) == ["start-transport-missing"]
    assert report.blocked
    assert [(fix.path, fix.value) for fix in report.fixes] == [("transport", "tcp")]
    assert look(transport="tcp", around=here(lacks=package)) == StartReport((), (), False)


def test_a_host_without_rdma_is_mended_by_what_the_doctor_says_is_right() -> None:
    told = Finding(
        "deployment-transport", Severity.INFO, "x", (Evidence("a", "b"),), "No NIC.", "Say so.", "mooncake_tcp"
    )
    report = look(told=(told,))
    assert [fix.label for fix in report.fixes] == ["Use mooncake_tcp instead of mooncake"]
    assert not report.blocked


@given(st.integers(1, 16), st.integers(1, 16), st.integers(1, 20))
def test_fewer_workers_fit_the_cores_and_each_role_keeps_one(prefill: int, decode: int, cores: int) -> None:
    report = look(prefill, decode, here(cores))
    counts = {"prefill.count": prefill, "decode.count": decode}
    assert bool(report.findings) == (prefill + decode > max(2, cores))
    for fix in report.fixes:
        assert 1 <= int(fix.value) < counts[fix.path]
        counts[fix.path] = int(fix.value)
    if report.findings:
        assert sum(counts.values()) == max(2, cores)
    assert not report.blocked


def test_a_path_that_is_not_there_blocks_and_a_hub_id_does_not() -> None:
    assert ids(look(model="/models/none")) == ["start-model-missing"]
    assert look(model="/models/none").blocked
    assert look(model="some-hub/model") == StartReport((), (), False)


def test_weights_beyond_free_memory_are_an_error_that_leaves_the_button_usable() -> None:
    report = look(model="/m/x.gguf", around=here(free=1000, sizes={"/m/x.gguf": 2000}))
    assert ids(report) == ["start-memory"]
    assert report.findings[0].severity is Severity.ERROR
    assert not report.blocked
    assert look(model="/m/x.gguf", around=here(free=None, sizes={"/m/x.gguf": 2000})) == StartReport((), (), False)


def test_cores_and_packages_of_this_host_say_nothing_of_another_engine() -> None:
    report = look(engine="sglang", prefill=1, decode=1, transport="mooncake", around=here(1, lacks="mooncake"))
    assert ids(report) == []


def test_every_rule_is_listed() -> None:
    assert {rule.id for rule in RULES} <= {rule.id for rule in ALL_RULES}
