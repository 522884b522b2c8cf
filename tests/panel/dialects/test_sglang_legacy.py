from __future__ import annotations

import json

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe.finding import Severity
from pdpanel.panel.launch import LaunchPlan

from .sglang_plans import made, option, process, refused

NICS = ["erdma_0", "erdma_1"]


def legacy(**fields: object) -> LaunchPlan:
    return made(**{"dialect": "sglang-legacy", "nics": NICS, **fields})


def config(plan: LaunchPlan, node: str = "") -> dict[str, object]:
    (file,) = (file for file in plan.files if file.node == node)
    assert file.path == "mooncake.json" and not file.shared
    return json.loads(file.text)


def test_all_of_a_node_share_one_file() -> None:
    plan = legacy(prefill={"hosts": ["10.0.0.1"]}, decode={"count": 2, "hosts": ["10.0.0.1", "10.0.0.2"]})
    assert [file.node for file in plan.files] == ["10.0.0.1", "10.0.0.2"]
    assert config(plan, "10.0.0.2") == {
        "local_hostname": "10.0.0.2",
        "metadata_server": "http://10.0.0.1:8998/metadata",
        "protocol": "rdma",
        "device_name": "erdma_0,erdma_1",
    }
    assert list(config(plan, "10.0.0.1")) == ["local_hostname", "metadata_server", "protocol", "device_name"]
    for spec in plan.processes[:3]:
        assert spec.env == {"MOONCAKE_CONFIG_PATH": "./mooncake.json"}
        assert option(spec.argv, "disaggregation-ib-device") is None


def test_the_balancer_takes_lists_with_commas_and_decode_waits_for_the_metadata() -> None:
    plan = legacy(
        prefill={"count": 2, "hosts": ["a", "b"]}, decode={"count": 2, "hosts": ["a", "b"]}, router={"port": 9000}
    )
    router = process(plan, "router")
    assert router.argv == (
        *("python3", "-m", "sglang.srt.disaggregation.mini_lb", "--prefill", "http://a:30000,http://b:30000"),
        *("--decode", "http://a:30001,http://b:30001", "--host", "0.0.0.0", "--port", "9000"),
    )
    assert router.after == ("prefill-0", "prefill-1", "decode-0", "decode-1")
    assert process(plan, "decode-1").after == ("prefill-0",)
    assert router.ready.url == "http://127.0.0.1:9000/health"


@pytest.mark.parametrize(
    "server",
    ["10.0.0.9:2379", "etcd://10.0.0.9:2379", "etcd://a:2379,b:2379", "redis://10.0.0.9:6379", "http://h:1/metadata"],
)
def test_a_metadata_server_is_written_as_it_is_said(server: str) -> None:
    plan = legacy(metadata=server)
    assert config(plan)["metadata_server"] == server
    assert process(plan, "decode-0").after == ()


def test_a_metadata_server_that_is_started_comes_first() -> None:
    plan = legacy(metadata={"server": "etcd://127.0.0.1:2379", "start": True})
    assert plan.processes[0].argv[0] == "etcd"
    assert all(spec.after == (plan.processes[0].name,) for spec in plan.processes[1:3])


def test_another_bootstrap_port_is_told_to_both_sides() -> None:
    plan = legacy(prefill={"bootstrap_port": 9100})
    assert config(plan)["metadata_server"] == "http://127.0.0.1:9100/metadata"
    for name in ("prefill-0", "decode-0"):
        assert option(process(plan, name).argv, "disaggregation-bootstrap-port") == ["9100"]


def test_tcp_empties_the_devices() -> None:
    plan = legacy(transport="mooncake_tcp")
    assert config(plan)["protocol"] == "tcp"
    assert config(plan)["device_name"] == ""
    assert config(legacy(transport="mooncake_tcp", nics="auto"))["device_name"] == ""


def test_watching_and_the_band_of_rpc_ports() -> None:
    plan = legacy(observe=True, rpc_ports=[15000, 15099], decode={"flags": {"enable-metrics": True}})
    decode = process(plan, "decode-0")
    assert decode.argv.count("--enable-metrics") == 1
    assert decode.env["MC_TE_METRIC"] == "1"
    assert (decode.env["MC_MIN_RPC_PORT"], decode.env["MC_MAX_RPC_PORT"]) == ("15000", "15099")


def test_what_this_version_cannot_do() -> None:
    refused("nics", "names no device", dialect="sglang-legacy")
    many = {"dialect": "sglang-legacy", "nics": NICS}
    refused("prefill.count", "where their ports collide", prefill={"count": 2}, **many)
    refused("decode.count", "on n1", prefill={"hosts": ["n1"]}, decode={"count": 2, "hosts": ["n1"]}, **many)
    refused("metadata.server", "came with", metadata="P2PHANDSHAKE", **many)
    refused("metadata.backend", "is not a key", metadata={"server": "h:2379", "backend": "etcd"}, **many)
    refused("unified.count", "means nothing", unified={"count": 1}, **many)
    refused("prefill.moe_a2a", "means nothing", prefill={"moe_a2a": "deepep"}, **many)


def test_a_version_without_the_balancer_is_refused_with_todays_router() -> None:
    error = refused("router.kind", "does not have", dialect="sglang-legacy", nics=NICS, engine_version="0.5.23")
    assert "sglang_router.launch_router" in error.remedy
    plan = legacy(engine_version="0.5.23", router={"kind": "none"})
    assert [finding.severity for finding in plan.findings] == [Severity.ERROR]


@pytest.mark.parametrize(
    ("version", "severity"), [("", "info"), ("0.4.5.post1", None), ("0.4.5.post3", "error"), ("0.4.5", "error")]
)
def test_one_version_reads_the_file(version: str, severity: str | None) -> None:
    found = [finding for finding in legacy(engine_version=version).findings if finding.id == "sglang-legacy-version"]
    assert [str(finding.severity) for finding in found] == ([severity] if severity else [])


def test_flags_are_those_of_that_version() -> None:
    plan = legacy(workers={"tp": 2, "attn_dp": 2, "flags": {"incremental-streaming-output": True}})
    argv = process(plan, "prefill-0").argv
    assert option(argv, "dp-size") == ["2"] and "--enable-dp-attention" in argv
    assert "--stream-output" in argv


def test_the_version_alone_chooses_the_dialect() -> None:
    plan = made(engine_version="0.4.5.post1", nics=NICS)
    assert plan.dialect == "sglang-legacy"
    with pytest.raises(ConfigError, match="router"):
        made(engine_version="0.4.5.post1", nics=NICS, router={"kind": "sglang-router"})
