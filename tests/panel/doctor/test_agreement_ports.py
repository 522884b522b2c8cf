"""Rules on ports: each fires on its condition and not beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.nic_probe.host import probe_host
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.panel.doctor import agreement_ports
from pdpanel.panel.doctor.agreement import check_agreement
from pdpanel.panel.doctor.command import parse_script

Table = Callable[[Iterable[Finding]], dict[str, Finding]]
ERROR, WARNING = Severity.ERROR, Severity.WARNING

P = "python -m sglang.launch_server --disaggregation-mode prefill "
D = "python -m sglang.launch_server --disaggregation-mode decode --base-gpu-id 1 "
R = "python -m sglang_router.launch_router --pd-disaggregation --port 8000 "


def lines(*commands: str) -> str:
    return "\n".join(commands)


FIRES: list[tuple[str, Severity, str]] = [
    ("bootstrap-port-clash", ERROR, lines(P + "--port 1", P + "--port 2 --base-gpu-id 2", D + "--port 3")),
    ("bootstrap-port-clash", ERROR, lines(P + "--host 10.0.0.1", P + "--host 10.0.0.1 --port 2 --base-gpu-id 2")),
    ("bootstrap-port-clash", WARNING, lines(P + "--host 0.0.0.0", P + "--host 0.0.0.0 --port 2 --base-gpu-id 2")),
    (
        "bootstrap-port-mismatch",
        ERROR,
        lines(
            P + "--disaggregation-bootstrap-port 8999",
            D + "--port 30001",
            R + "--prefill http://127.0.0.1:30000 8998 --decode http://127.0.0.1:30001",
        ),
    ),
    (
        "bootstrap-port-mismatch",
        ERROR,
        lines(
            P + "--disaggregation-bootstrap-port 8999",
            D + "--port 30001",
            R + "--prefill http://127.0.0.1:30000 --decode http://127.0.0.1:30001",
        ),
    ),
    ("port-clash", ERROR, lines(P, D)),
    ("port-clash", ERROR, lines(P + "--host 10.0.0.1 --port 8998", D + "--host 10.0.0.1 --port 30001")),
    ("port-clash", ERROR, lines(P + "--dist-init-addr 127.0.0.1:29998", D + "--port 30001")),
    ("port-clash", WARNING, lines(P + "--host 0.0.0.0", D + "--host 0.0.0.0")),
    (
        "port-clash",
        WARNING,
        lines(P, D + "--port 30001", "python -m sglang_router.launch_router --pd-disaggregation"),
    ),
    ("port-ephemeral", WARNING, P + "--port 40000"),
    (
        "router-workers",
        WARNING,
        lines(P, D + "--port 30001", R + "--prefill http://127.0.0.1:39999 --decode http://127.0.0.1:30001"),
    ),
    (
        "router-workers",
        ERROR,
        lines(P, D + "--port 30001", R + "--prefill http://127.0.0.1:30001 --decode http://127.0.0.1:30000"),
    ),
]
SILENT: list[tuple[str, str]] = [
    ("bootstrap-port-clash", lines(P + "--host 10.0.0.1", P + "--host 10.0.0.2")),
    ("bootstrap-port-clash", lines(P, P + "--port 2 --disaggregation-bootstrap-port 8999")),
    ("bootstrap-port-clash", lines(P, D + "--port 30001")),
    (
        "bootstrap-port-mismatch",
        lines(
            P + "--disaggregation-bootstrap-port 8999",
            D + "--port 30001",
            R + "--prefill http://127.0.0.1:30000 8999 --decode http://127.0.0.1:30001",
        ),
    ),
    (
        "bootstrap-port-mismatch",
        lines(P, D + "--port 30001", R + "--prefill http://127.0.0.1:30000 --decode http://127.0.0.1:30001"),
    ),
    ("port-clash", lines(P, D + "--port 30001", R)),
    ("port-clash", lines(P + "--host 10.0.0.1", D + "--host 10.0.0.2")),
    (
        "port-clash",
        lines(P + "--nnodes 2 --node-rank 0 --host 10.0.0.1", P + "--nnodes 2 --node-rank 1 --host 10.0.0.2"),
    ),
    ("port-ephemeral", lines(P, D + "--port 30001")),
    (
        "router-workers",
        lines(P, D + "--port 30001", R + "--prefill http://127.0.0.1:30000 --decode http://127.0.0.1:30001"),
    ),
    ("router-workers", R + "--prefill http://127.0.0.1:30000"),
    ("port-taken", P + "--port 30000"),
]


@pytest.mark.parametrize(("rule", "severity", "script"), FIRES)
def test_a_rule_fires(rule: str, severity: Severity, script: str, by_id: Table) -> None:
    finding = by_id(check_agreement(parse_script(script)))[rule]
    assert finding.severity is severity
    assert finding.remedy


@pytest.mark.parametrize(("rule", "script"), SILENT)
def test_a_rule_is_silent(rule: str, script: str, by_id: Table) -> None:
    assert rule not in by_id(check_agreement(parse_script(script)))


def test_every_rule_is_tried() -> None:
    rules = {check.rule.id for check in agreement_ports.CHECKS}
    assert {row[0] for row in FIRES} | {"port-taken"} == {row[0] for row in SILENT} == rules


def test_the_next_free_bootstrap_port_is_named(by_id: Table) -> None:
    script = lines(
        P, P + "--port 2 --base-gpu-id 2", P + "--port 3 --base-gpu-id 4 --disaggregation-bootstrap-port 8999"
    )
    assert by_id(check_agreement(parse_script(script)))["bootstrap-port-clash"].corrected == "9000"


def _host_that_listens(root: Path, port: int):  # type: ignore[no-untyped-def]
    (root / "proc/net").mkdir(parents=True)
    row = f"   0: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0"
    (root / "proc/net/tcp").write_text("  sl  local_address rem_address   st\n" + row + "\n")
    return probe_host(HostFiles(root), {})


def test_a_port_that_somebody_has_is_found(tmp_path: Path, by_id: Table) -> None:
    host = _host_that_listens(tmp_path, 30001)
    script = lines(P, D + "--port 30001")
    finding = by_id(check_agreement(parse_script(script), host))["port-taken"]
    assert finding.subject == "port 30001"
    assert finding.severity is ERROR


def test_a_port_of_another_host_is_no_concern(tmp_path: Path, by_id: Table) -> None:
    host = _host_that_listens(tmp_path, 30001)
    assert "port-taken" not in by_id(check_agreement(parse_script(D + "--port 30001 --host 10.9.9.9"), host))


def test_the_range_of_the_host_counts(by_id: Table) -> None:
    workers = parse_script(P + "--port 30000")
    assert "port-ephemeral" in by_id(check_agreement(workers, ephemeral=(1024, 65535)))
