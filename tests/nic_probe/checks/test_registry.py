"""All checks together: each is known, each is tested both ways, and hosts in order have no errors."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from check_case import Case, make_netdev, make_state, make_view
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.checks import registry
from pdpanel.nic_probe.checks.check import Check, Rule
from pdpanel.nic_probe.checks.registry import HOST_CHECKS, Outcome, check_host, outcomes
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.document import probe_document
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.nic_probe.host import Host, host_of_topology, probe_host, this_host_files
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.sources.topology_file import read_topology_file
from pdpanel.nic_probe.state.limits import Limit
from pdpanel.nic_probe.topology.survey import survey_topology
from simulated_host import make_gpu, read, unread
from simulated_node import grow_node

_MODULES = sorted(path for path in Path(__file__).parent.glob("test_*.py") if path.name != Path(__file__).name)


CAPTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "hardware"
_NCCL = """<system version="1">
  <cpu numaid="0" arch="x86_64"><pci busid="0000:10:1c.0" class="0x030200" link_speed="16 GT/s" link_width="16">
    <gpu dev="0" sm="80"/></pci></cpu>
  <cpu numaid="1" arch="x86_64"><pci busid="0000:90:1b.0" class="0x020000" link_speed="16 GT/s" link_width="16">
    <nic><net name="mlx5_0" dev="0" speed="200000" port="1" guid="0x1" maxconn="262144" gdr="1"/></nic></pci></cpu>
</system>
"""


def _limit(soft: int, hard: int | None = None) -> Limit:
    return Limit(soft, soft if hard is None else hard)


def _cases() -> Iterator[Case]:
    for path in _MODULES:
        spec = importlib.util.spec_from_file_location(f"cases_of_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield from module.CASES


def _findings(host: Host) -> tuple[Finding, ...]:
    return check_host(host, survey_topology(host))


def _of(findings: tuple[Finding, ...], severity: Severity) -> list[str]:
    return [finding.id for finding in findings if finding.severity is severity]


def test_every_check_has_a_case_that_fires_and_one_that_does_not() -> None:
    tested = Counter(case.id for case in _cases())
    assert tested == Counter(check.rule.id for check in HOST_CHECKS)


def test_every_rule_explains_itself() -> None:
    ids = [check.rule.id for check in HOST_CHECKS]
    assert len(set(ids)) == len(ids)
    for check in HOST_CHECKS:
        rule = check.rule
        assert rule.id == rule.id.lower()
        assert rule.id.replace("-", "").isalnum()
        assert rule.title
        assert not rule.title.endswith(".")
        assert rule.explanation.endswith(".")
        assert 2 <= rule.explanation.count(". ") + 1 <= 4
        assert rule.references
        assert all(rule.references)


def test_each_module_of_checks_has_its_table() -> None:
    """A module without a test file would drop out of the count above together with its checks."""
    modules = {check.judge.__module__.rpartition(".")[2] for check in HOST_CHECKS}
    assert {path.stem.removeprefix("test_") for path in _MODULES} == modules


def test_a_host_in_order_has_no_error_and_one_warning() -> None:
    findings = _findings(make_view().host)
    assert _of(findings, Severity.ERROR) == []
    assert _of(findings, Severity.WARNING) == ["mooncake-listens-everywhere"]
    assert _of(findings, Severity.UNKNOWN) == []


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"facts": False},
        {"flat": True},
        {"link_layer": "InfiniBand"},
        {"nic_driver": "bnxt_en"},
        {"nic_driver": "efa", "link_layer": "Unknown"},
        {"gpu_driver": "amdgpu"},
        {"storage_nic": True, "gpus": 4, "nics": 4},
        {"vfs": 2, "nics": 8, "gpus": 8, "nics_per_switch": 2},
        {"gpus": 0, "nics": 2},
        {"gpus": 2, "nics": 0},
        {"numa_nodes": 1, "gpus": 2, "nics": 1},
    ],
    ids=lambda shape: "-".join(f"{key}={value}" for key, value in shape.items()) or "plain",
)
def test_nodes_in_order_have_no_error_and_few_warnings(tmp_path: Path, shape: dict[str, Any]) -> None:
    grow_node(tmp_path, gids=8, **shape)
    findings = _findings(probe_host(HostFiles(tmp_path), {}))
    assert _of(findings, Severity.ERROR) == []
    assert len(_of(findings, Severity.WARNING)) <= 3
    assert len(_of(findings, Severity.UNKNOWN)) <= 1


def test_a_laptop_has_no_error_and_few_warnings() -> None:
    """No GPU, no NIC, no RDMA library, the limits of a desktop, and a name that Debian gave it."""
    state = make_state(
        limits={"memlock": read(_limit(8 << 20)), "nofile": read(_limit(1024, 1 << 20)), "core": read(_limit(0))},
        kernel={"max_map_count": read(65530), "modules": read({"ext4": ""}), "nvidia_open": unread()},
        network={"hostname_addresses": read(("127.0.1.1",)), "arp": {}},
        machine={"governor": read("powersave"), "frequency_driver": read("intel_pstate"), "hypervisor": read("")},
        software={"packages": read({"torch": "2.9.1+cpu", "mooncake-transfer-engine-non-cuda": "0.3.13"})},
        space=read({}),
    )
    netdevs = (make_netdev("lo", "127.0.0.1/8"), make_netdev("eth0", "10.0.0.7/24"))
    findings = _findings(make_view((), (), state=state, netdevs=netdevs, ibverbs=unread("not found")).host)
    assert _of(findings, Severity.ERROR) == []
    assert sorted(_of(findings, Severity.WARNING)) == ["ibverbs-missing", "mooncake-listens-everywhere"]


def test_this_host_has_no_error() -> None:
    host = probe_host(this_host_files({}), {})
    if host.rdma.otherwise(()) or host.gpus.devices:
        pytest.skip("this host has GPUs or NICs, and what is wrong with them is no matter of this test")
    assert _of(_findings(host), Severity.ERROR) == []


@pytest.mark.parametrize(
    "name",
    [
        "hwloc-sysfs/32em64t-2n8c+dax+nvme+mic+dimms.tar.bz2",
        "hwloc-sysfs/nvidiagpunumanodes.tar.bz2",
        "procfs-sysfs/fixtures.ttar",
    ],
)
def test_captures_have_no_error_and_one_finding_for_all_that_they_lack(
    capture: Callable[[str], Path], name: str
) -> None:
    findings = _findings(probe_host(HostFiles(capture(name)), {}))
    assert _of(findings, Severity.ERROR) == []
    assert _of(findings, Severity.UNKNOWN) == ["facts-missing"]
    assert len(_of(findings, Severity.WARNING)) <= 4


def test_a_topology_file_has_one_finding_for_all_that_it_does_not_tell(tmp_path: Path) -> None:
    """Its NICs have no state: they are not called down, and GPUs at the wrong socket are still named."""
    file = tmp_path / "topology.xml"
    file.write_text(_NCCL)
    host = host_of_topology(read_topology_file(file))
    findings = _findings(host)
    assert _of(findings, Severity.ERROR) == []
    assert _of(findings, Severity.UNKNOWN) == ["facts-missing"]
    assert _of(findings, Severity.WARNING) == ["gpu-far-from-nics"]
    assert "rdma-none" not in {finding.id for finding in findings}


@pytest.mark.parametrize("folder", ["aws-nccl-topo", "azure-nccl-topo", "nixl-aws-hwloc", "rccl-topo"])
def test_topology_files_of_real_hosts_have_no_error(folder: str) -> None:
    files = sorted((CAPTURES / folder).glob("*.xml"))
    if not files:
        pytest.skip(f"no topology files at {CAPTURES / folder}")
    for file in files:
        findings = _findings(host_of_topology(read_topology_file(file)))
        assert _of(findings, Severity.ERROR) == []
        assert _of(findings, Severity.UNKNOWN) == ["facts-missing"]


def test_the_gravest_finding_comes_first() -> None:
    state = make_state({"MC_FORCE_TCP": "0"}, kernel={"max_map_count": read(65530)}, facts_missing=("clock",))
    severities = [finding.severity for finding in _findings(make_view(state=state, live=False).host)]
    order = [Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.INFO]
    assert severities == sorted(severities, key=order.index)
    assert set(severities) == set(order)


def test_the_outcome_of_a_check_is_its_gravest_finding() -> None:
    view = make_view(state=make_state({"MC_FORCE_TCP": "0", "MC_FORCE_MNNVL": "0"}))
    ended = outcomes(view.host, view.topology)
    assert list(ended) == [check.rule.id for check in HOST_CHECKS]
    assert ended["variable-off-is-on"] is Outcome.ERROR
    assert ended["memlock-low"] is Outcome.OK
    assert ended["mooncake-listens-everywhere"] is Outcome.WARNING


def test_a_check_that_fails_takes_nothing_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(view: HostView) -> list[Finding]:
        raise KeyError("mlx5_0\n")

    broken = Check(replace(HOST_CHECKS[0].rule, id="broken"), fail)
    monkeypatch.setattr(registry, "HOST_CHECKS", (broken, *HOST_CHECKS))
    findings = _findings(make_view().host)
    (finding,) = [finding for finding in findings if finding.id == "broken"]
    assert finding.severity is Severity.UNKNOWN
    assert "fault of pdpanel" in finding.reason
    assert finding.evidence[0].value.isprintable()
    assert len(findings) > 1


def test_findings_become_json() -> None:
    host = make_view(state=make_state({"MC_FORCE_TCP": "0"})).host
    document = [asdict(finding) for finding in _findings(host)]
    assert json.loads(json.dumps(document))[0]["severity"] == "error"
    assert json.dumps(probe_document(host, survey_topology(host)))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 80), 1 << 80) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_FACTS = ("addresses", "rlimits", "space", "devices", "libraries", "packages", "missing_libraries", "wheel_libraries")
_FACTS += ("environ", "hostname_addresses", "clock", "gpus", "python", "version")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(_FACTS, _JSON)))
def test_facts_of_any_shape_break_no_check(facts: dict[str, object]) -> None:
    tree = MemoryTree(
        {"pdpanel/facts.json": json.dumps(facts).encode(), "sys/class/infiniband/mlx5_0/ports/1/state": b"4: ACTIVE"}
    )
    for finding in _findings(probe_host(HostFiles(tree), {})):
        assert "fault of pdpanel" not in finding.reason


def test_gpus_alone_need_nothing_of_rdma() -> None:
    view = make_view([make_gpu("0000:18:00.0")], (), state=make_state(limits={"memlock": read(_limit(65536))}))
    assert _of(_findings(view.host), Severity.ERROR) == []


@pytest.mark.parametrize(
    ("references", "reason", "expected"),
    [
        (("Manual", "o/r#12"), "It fails.", "It fails (o/r#12)."),
        (("o/r#12",), "It fails, as in o/x#3.", "It fails, as in o/x#3."),
        (
            ("Mooncake documentation: troubleshooting",),
            "It fails.",
            "It fails (Mooncake documentation: troubleshooting).",
        ),
        (("proc(5)",), "It fails.", "It fails."),
    ],
)
def test_a_reason_says_where_it_is_known_from(references: tuple[str, ...], reason: str, expected: str) -> None:
    rule = Rule("some-rule", "Title", "Explanation.", references)
    assert rule.finding(Severity.WARNING, "x", (), reason).reason == expected
