from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.nic_probe.host import Host
from pdpanel.nic_probe.topology.survey import Topology, survey_topology
from pdpanel.panel.deployment import Deployment, dump_deployment, parse_deployment
from pdpanel.panel.doctor.command import parse_script
from pdpanel.panel.doctor.deployment import ModelSize, check_commands, check_deployment, check_deployment_file
from pdpanel.panel.host_facts import HostFacts
from simulated_host import make_gpu, make_host, make_nic, make_port, read

Table = Callable[[Iterable[Finding]], dict[str, Finding]]
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
GIB = 1 << 30


def pd(**fields: Any) -> Deployment:
    return parse_deployment({"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}} | fields)


@pytest.fixture
def laptop(tmp_path: Path) -> Host:
    """A host with neither GPU nor NIC."""
    return make_host(tmp_path)


@pytest.fixture
def gpu_node(tmp_path: Path) -> Host:
    """A host with two GPUs and one usable NIC."""
    gpus = (make_gpu("0000:18:00.0", 0), make_gpu("0000:3a:00.0", 1))
    return make_host(tmp_path, gpus, (make_nic("mlx5_0", usable=True),))


def nowhere() -> Topology:
    return Topology((), (), {}, {}, {}, {})


def test_a_plain_deployment_has_no_error_and_no_warning(laptop: Host) -> None:
    found = check_deployment(pd(transport="tcp"), laptop, nowhere())
    assert [finding for finding in found if finding.severity in {ERROR, WARNING}] == []


def test_pages_that_differ_between_the_roles_are_found(laptop: Host, by_id: Table) -> None:
    deployment = pd(decode={"count": 1, "flags": {"page-size": 32}}, prefill={"count": 1, "flags": {"page-size": 16}})
    finding = by_id(check_deployment(deployment, laptop, nowhere()))["pd-page-size"]
    assert finding.severity is ERROR
    assert [evidence.source for evidence in finding.evidence] == ["plan: prefill-0", "plan: decode-0"]


def test_the_default_of_the_bundled_engine_counts(laptop: Host, by_id: Table) -> None:
    one_sided = pd(decode={"count": 1, "flags": {"page-size": 32}})
    assert by_id(check_deployment(one_sided, laptop, nowhere()))["pd-page-size"].severity is ERROR


def test_a_deployment_that_cannot_be_planned(laptop: Host, by_id: Table) -> None:
    facts = HostFacts("node1", 4, "python3", taken=frozenset({8001}))
    found = check_deployment(pd(router={"port": 8001}), laptop, nowhere(), facts)
    assert [finding.id for finding in found] == ["deployment-plan"]
    assert "8001" in found[0].evidence[0].value


def test_no_port_left_is_a_finding_too(laptop: Host) -> None:
    facts = HostFacts("node1", 4, "python3", taken=frozenset(range(1, 65536)))
    assert [finding.id for finding in check_deployment(pd(), laptop, nowhere(), facts)] == ["deployment-plan"]


def test_mooncake_without_rdma_will_be_tcp(laptop: Host, by_id: Table) -> None:
    finding = by_id(check_deployment(pd(transport="mooncake"), laptop, nowhere()))["deployment-transport"]
    assert (finding.severity, finding.corrected) == (INFO, "mooncake_tcp")


@pytest.mark.parametrize("transport", ["tcp", "mooncake_tcp"])
def test_tcp_that_is_meant_is_no_finding(laptop: Host, by_id: Table, transport: str) -> None:
    found = check_deployment(pd(transport=transport), laptop, nowhere())
    assert "deployment-transport" not in by_id(found)


def test_a_usable_nic_carries_mooncake(gpu_node: Host, by_id: Table) -> None:
    assert "deployment-transport" not in by_id(check_deployment(pd(), gpu_node, survey_topology(gpu_node)))


def test_nics_that_cannot_be_used_are_told_with_their_reason(tmp_path: Path, by_id: Table) -> None:
    nic = make_nic("mlx5_0", ports=(make_port(usable=False),), usable=False, why_not="port 1 is DOWN")
    found = check_deployment(pd(), make_host(tmp_path, nics=(nic,)), nowhere())
    finding = by_id(found)["deployment-transport"]
    assert finding.severity is WARNING
    assert any(evidence.value == "port 1 is DOWN" for evidence in finding.evidence)


def test_memory_is_compared_with_weights_and_kv(laptop: Host, by_id: Table) -> None:
    memory = laptop.memory.available_bytes
    assert not memory.known
    host = _with_memory(laptop, 2 * GIB)
    fits = ModelSize(weights_bytes=GIB, kv_bytes_per_token=1024)
    assert "deployment-memory" not in by_id(check_deployment(pd(), host, nowhere(), model=fits))
    large = ModelSize(weights_bytes=GIB, kv_bytes_per_token=1 << 17)
    finding = by_id(check_deployment(pd(), host, nowhere(), model=large))["deployment-memory"]
    assert finding.severity is ERROR
    assert "3.0 GiB" in finding.reason


def _with_memory(host: Host, available: int) -> Host:
    return replace(host, memory=replace(host.memory, available_bytes=read(available)))


def test_weights_that_no_gpu_holds(gpu_node: Host, by_id: Table) -> None:
    workers = parse_script("python -m sglang.launch_server --tp 2")
    found = check_commands(workers, gpu_node, nowhere(), ModelSize(weights_bytes=200 * GIB))
    assert by_id(found)["deployment-memory"].severity is ERROR
    assert "deployment-memory" not in by_id(
        check_commands(workers, gpu_node, nowhere(), ModelSize(weights_bytes=100 * GIB))
    )


@pytest.mark.parametrize(
    ("fields", "subject"),
    [
        ({"env": {"LD_PRELOAD": "/tmp/x.so"}}, "LD_PRELOAD"),
        ({"env": {"PYTHONPATH": "/tmp"}}, "PYTHONPATH"),
        ({"prefill": {"count": 1, "flags": {"trust-remote-code": True}}}, "--trust-remote-code"),
    ],
)
def test_what_runs_code_from_elsewhere_is_told(
    fields: dict[str, Any], subject: str, laptop: Host, by_id: Table
) -> None:
    finding = by_id(check_deployment(pd(**fields), laptop, nowhere()))["deployment-runs-code"]
    assert (finding.severity, finding.subject) == (WARNING, subject)


def test_workers_on_the_network_without_a_key_are_open(laptop: Host, by_id: Table) -> None:
    assert by_id(check_deployment(pd(host="10.0.0.1"), laptop, nowhere()))["deployment-open"].severity is WARNING
    flags = {"count": 1, "flags": {"api-key": "k"}}
    closed = pd(host="10.0.0.1", prefill=flags, decode=flags)
    assert "deployment-open" not in by_id(check_deployment(closed, laptop, nowhere()))
    assert "deployment-open" not in by_id(check_deployment(pd(), laptop, nowhere()))


def test_a_file_may_be_a_deployment(tmp_path: Path, laptop: Host, by_id: Table) -> None:
    path = tmp_path / "pd.yaml"
    path.write_text(dump_deployment(pd(decode={"count": 1, "flags": {"page-size": 64}})))
    assert "pd-page-size" in by_id(check_deployment_file(path, laptop, nowhere()))


def test_a_file_may_be_a_script(tmp_path: Path, gpu_node: Host, by_id: Table) -> None:
    path = tmp_path / "run.sh"
    path.write_text(
        "#!/bin/bash\n"
        "export MODEL=org/m\n"
        "python -m sglang.launch_server --model-path $MODEL --disaggregation-mode prefill &\n"
        "python -m sglang.launch_server --model-path $MODEL --disaggregation-mode decode --port 30001 &\n"
    )
    finding = by_id(check_deployment_file(path, gpu_node, nowhere()))["gpu-shared"]
    assert finding.evidence[0].source == f"{path}:3"


def test_a_document_of_several_deployments_is_judged_one_by_one(tmp_path: Path, gpu_node: Host, by_id: Table) -> None:
    one = (
        "python -m sglang.launch_server --model-path {0} --host {1} --disaggregation-mode prefill\n"
        "python -m sglang.launch_server --model-path {0} --host {1} --disaggregation-mode decode --port 30001 "
        "--base-gpu-id 1\n"
        "python -m sglang_router.launch_router --pd-disaggregation --port 8000 --prefill http://{1}:30000 8998 "
        "--decode http://{1}:30001\n"
    )
    path = tmp_path / "guide.md"
    path.write_text(one.format("org/a", "10.0.0.1") + "\nOr:\n\n" + one.format("org/b", "10.0.0.1"))
    found = by_id(check_deployment_file(path, gpu_node, nowhere()))
    assert [id_ for id_, finding in found.items() if finding.severity is ERROR] == []


def test_a_file_with_nothing_to_judge_says_so(tmp_path: Path, laptop: Host) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("just words\n")
    assert [finding.id for finding in check_deployment_file(path, laptop, nowhere())] == ["deployment-empty"]


@pytest.mark.parametrize("text", ["model: m\nprefill: {count: -1}\n", "model: m\nmodel: n\n", "model: [\n"])
def test_a_wrong_deployment_is_refused(tmp_path: Path, laptop: Host, text: str) -> None:
    path = tmp_path / "pd.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        check_deployment_file(path, laptop, nowhere())


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, laptop: Host) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        check_deployment_file(tmp_path / "none", laptop, nowhere())


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, laptop: Host) -> None:
    path = tmp_path / "large.sh"
    path.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        check_deployment_file(path, laptop, nowhere())


@settings(max_examples=60)
@given(data=st.binary(max_size=300))
def test_any_file_gives_findings_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = folder / "f.yaml"
    path.write_bytes(data)
    host = make_host(folder)
    try:
        check_deployment_file(path, host, nowhere())
    except ConfigError as error:
        assert "\n" not in str(error)


def test_a_preset_is_a_deployment_with_a_note(tmp_path: Path, laptop: Host) -> None:
    path = tmp_path / "own.yaml"
    note = "preset:\n  description: One of each.\n\n  verified: {by: hand}\n"
    path.write_text(note + dump_deployment(pd()))
    found = check_deployment_file(path, laptop, nowhere())
    assert [finding.id for finding in found if finding.severity is ERROR] == []
