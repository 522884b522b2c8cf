"""Rules on addresses, proxies and the router's options: each fires on its condition and not beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.nic_probe.host import Host, probe_host
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.panel.doctor import agreement_network
from pdpanel.panel.doctor.agreement import check_agreement
from pdpanel.panel.doctor.command import parse_script
from simulated_node import grow_node

Table = Callable[[Iterable[Finding]], dict[str, Finding]]
ERROR, WARNING = Severity.ERROR, Severity.WARNING

P = "python -m sglang.launch_server --disaggregation-mode prefill "
D = "python -m sglang.launch_server --disaggregation-mode decode --port 30001 --base-gpu-id 1 "
R = "python -m sglang_router.launch_router --port 8000 --pd-disaggregation "
FAR = "--host 10.0.0.2 "

FIRES: list[tuple[str, Severity, str]] = [
    ("host-loopback", ERROR, f"{P}\n{D}{FAR}\n{R}--prefill http://10.0.0.1:30000 --decode http://10.0.0.2:30001"),
    ("host-loopback", ERROR, f"{P}--nnodes 2 --dist-init-addr 10.0.0.1:5000"),
    ("host-loopback", WARNING, f"etcd --name x\n{P}--host 10.0.0.1\n{D}{FAR}"),
    ("proxy-env", WARNING, f"http_proxy=http://proxy:3128 {P}"),
    ("proxy-env", WARNING, f"HTTPS_PROXY=http://p:1 NO_PROXY=localhost {P}--host 10.0.0.1\n{D}{FAR}"),
    ("router-options", ERROR, R + "--prefill http://a:1 --decode http://a:2,http://b:2"),
    ("router-options", ERROR, R + "--policy fastest"),
    ("router-options", ERROR, R + "--policy bucket"),
    ("router-options", ERROR, R.replace("--pd-disaggregation", "") + "--prefill http://a:1 --decode http://a:2"),
    ("router-options", ERROR, "python -m pdpanel.engine.launch_router --policy manual --worker-urls http://a:1"),
]
SILENT: list[tuple[str, str]] = [
    ("host-loopback", f"etcd --listen-client-urls http://127.0.0.1:2379\n{P}\n{D}"),
    ("host-loopback", f"etcd --listen-client-urls http://0.0.0.0:2379\n{P}--host 10.0.0.1\n{D}{FAR}"),
    ("host-loopback", f"{P}\n{D}\n{R}--prefill http://127.0.0.1:30000 --decode http://127.0.0.1:30001"),
    ("host-loopback", f"{P}--host 10.0.0.1\n{D}{FAR}"),
    ("host-loopback", f"{P}--host 0.0.0.0\n{D}{FAR}"),
    ("host-loopback", f"{P}--host $IP --nnodes 2"),
    ("address-ambiguous", f"{P}--host 0.0.0.0\n{D}{FAR}"),
    ("proxy-env", P),
    ("proxy-env", f"http_proxy=http://p:1 no_proxy=127.0.0.1 {P}"),
    ("proxy-env", f"http_proxy=http://p:1 no_proxy=10.0.0.0/8 {P}--host 10.0.0.1\n{D}{FAR}"),
    ("proxy-env", f"http_proxy=http://p:1 no_proxy=* {P}"),
    ("proxy-env", f"http_proxy=http://p:1 no_proxy=.cluster {P}--host a.cluster"),
    ("router-options", R + "--prefill http://a:1 8998 --decode http://a:2 --decode http://b:2 --policy cache_aware"),
    ("router-options", R + "--prefill-policy bucket --prefill http://a:1"),
    ("router-options", "python -m sglang.srt.disaggregation.mini_lb --prefill http://a:1,http://b:1"),
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
    rules = {check.rule.id for check in agreement_network.CHECKS}
    assert {row[0] for row in FIRES} | {"address-ambiguous"} == {row[0] for row in SILENT} == rules


def _host(root: Path, addresses: dict[str, list[str]]) -> Host:
    node = grow_node(root, gpus=2, nics=2, gids=8)
    facts = node.root / "pdpanel/facts.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"addresses": addresses}))
    return probe_host(HostFiles(node.root), {})


def test_one_of_several_addresses_has_to_be_named(tmp_path: Path, by_id: Table) -> None:
    host = _host(tmp_path, {"eth0": ["10.0.0.1/24"], "eth1": ["172.17.0.1/16", "fe80::1/64"]})
    script = f"{P}--host 0.0.0.0\n{D}{FAR}"
    finding = by_id(check_agreement(parse_script(script), host))["address-ambiguous"]
    assert finding.subject == "prefill-0"
    assert any("172.17.0.1" in evidence.value for evidence in finding.evidence)


@pytest.mark.parametrize("script", [f"{P}--host 10.0.0.1\n{D}{FAR}", f"{P}--host 0.0.0.0\n{D}--host 0.0.0.0"])
def test_a_named_address_or_one_host_is_clear(tmp_path: Path, by_id: Table, script: str) -> None:
    host = _host(tmp_path, {"eth0": ["10.0.0.1/24"], "eth1": ["172.17.0.1/16"]})
    assert "address-ambiguous" not in by_id(check_agreement(parse_script(script), host))


def test_the_list_of_exceptions_is_completed(by_id: Table) -> None:
    script = f"http_proxy=http://p:1 no_proxy=localhost {P}--host 10.0.0.1\n{D}{FAR}"
    finding = by_id(check_agreement(parse_script(script)))["proxy-env"]
    assert finding.corrected == "localhost,127.0.0.1,10.0.0.1,10.0.0.2"
    assert "p:1" not in str(finding.evidence), "a proxy's URL may hold a password"


def test_one_proxy_that_catches_all_workers_is_one_finding() -> None:
    script = f"export http_proxy=http://proxy:3128\n{P}--host 10.0.0.1\n{D}{FAR}"
    (finding,) = [one for one in check_agreement(parse_script(script)) if one.id == "proxy-env"]
    assert finding.subject == "prefill-0, decode-0"
    assert {evidence.source for evidence in finding.evidence} == {"script:2", "script:3"}
