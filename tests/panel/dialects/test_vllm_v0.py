from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe import Severity
from pdpanel.panel.launch import LaunchPlan

from .vllm_plans import PAIR, TWO_NODES, kv, option, planned, process

ETCD = {"server": "10.0.0.2:2379", "start": True}


def v0(**fields: object) -> LaunchPlan:
    return planned(**{"dialect": "vllm-v0", "nics": ["erdma_0"], "metadata": ETCD, **TWO_NODES, **fields})


def config(made: LaunchPlan) -> dict[str, Any]:
    file = next(file for file in made.files if file.path == "mooncake.json")
    assert file.shared
    return json.loads(file.text)


def test_the_demo_on_two_nodes() -> None:
    made = v0(workers={"context_length": 10000, "mem_fraction": 0.8, "tp": 2})
    assert [spec.name for spec in made.processes] == ["metadata", "prefill-0", "decode-0", "router"]
    assert process(made, "metadata").node == "10.0.0.2"
    prefill = process(made, "prefill-0")
    assert prefill.argv == (
        *("python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "org/m", "--port", "8100"),
        *("--tensor-parallel-size", "2", "--max-model-len", "10000", "--gpu-memory-utilization", "0.8"),
        "--kv-transfer-config",
        '{"kv_connector":"MooncakeConnector","kv_role":"kv_producer","kv_rank":0,"kv_parallel_size":2,'
        '"kv_buffer_size":2e9}',
    )
    assert prefill.env == {"MOONCAKE_CONFIG_PATH": "./mooncake.json"}
    assert prefill.after == ("metadata",)
    assert kv(process(made, "decode-0"))["kv_rank"] == 1
    assert list(config(made)) == [
        *("prefill_url", "decode_url", "metadata_server", "metadata_backend", "protocol", "device_name"),
    ]
    assert dict(process(made, "router").targets) == {
        "prefill": "http://localhost:8100/v1/completions",
        "decode": "http://10.0.0.2:8200/v1/completions",
        "listen": "0.0.0.0:8000",
    }
    program = next(file for file in made.files if file.program)
    assert "'http://10.0.0.2:8200'" in program.text
    (request,) = made.requests
    assert json.loads(request.argv[-1])["max_tokens"] == 1000


@pytest.mark.parametrize(
    ("metadata", "written"),
    [
        ({"server": "10.0.0.2:2379"}, ("10.0.0.2:2379", "etcd")),
        ({"server": "10.0.0.2:6379", "backend": "redis"}, ("10.0.0.2:6379", "redis")),
        ({"server": "etcd://10.0.0.2:2379"}, ("etcd://10.0.0.2:2379", None)),
        ({"server": "etcd://10.0.0.2:2379,10.0.0.3:2379"}, ("etcd://10.0.0.2:2379,10.0.0.3:2379", None)),
        ({"server": "redis://10.0.0.2:6379", "backend": "redis"}, ("redis://10.0.0.2:6379", None)),
        ({"server": "http://10.0.0.2:8080/metadata"}, ("http://10.0.0.2:8080/metadata", None)),
    ],
)
def test_a_backend_is_written_beside_a_server_without_a_scheme(
    metadata: dict[str, object], written: tuple[str, str | None]
) -> None:
    found = config(v0(metadata=metadata))
    assert (found["metadata_server"], found.get("metadata_backend")) == written


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"metadata": None}, r"metadata\.server.*missing"),
        ({"metadata": "P2PHANDSHAKE"}, r"metadata\.server.*not known"),
        ({"metadata": {"server": "redis://h:1", "backend": "etcd"}}, r"metadata\.backend"),
        ({"metadata": "10.0.0.2"}, r"metadata\.server"),
        ({"nics": "auto"}, "nics.*mooncake_tcp"),
        ({"decode": {"count": 1, "hosts": ["10.0.0.2"], "nics": ["b"]}}, "nics.*differ"),
        ({"prefill": {"count": 2, "hosts": ["a", "b"]}}, r"prefill\.count.*more than the one"),
        ({"decode": {"count": 1, "hosts": ["fd00::1"]}}, r"decode\.hosts.*IPv6"),
        ({"transport": "nixl"}, "transport"),
        ({"router": {"policy": "cache_aware"}}, r"router\.policy"),
        ({"workers": {"flags": {"kv-buffer-size": "lots"}}}, "kv-buffer-size.*2e9"),
        ({"workers": {"flags": {"kv-buffer-size": -1}}}, "kv-buffer-size"),
    ],
)
def test_what_the_demo_cannot_do(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        v0(**fields)


def test_one_node_has_its_connectors_far_enough_apart() -> None:
    made = v0(**PAIR, metadata="10.0.0.2:2379")
    found = config(made)
    assert (found["prefill_url"], found["decode_url"]) == ("127.0.0.1:13003", "127.0.0.1:13103")
    assert process(made, "decode-0").env["CUDA_VISIBLE_DEVICES"] == "1"
    for wished in (13003, 13004, 13052, 12954):
        roles = {"prefill": {"count": 1, "kv_port": 13003}, "decode": {"count": 1, "kv_port": wished}}
        with pytest.raises(ConfigError, match="kv_port"):
            v0(**roles, metadata="10.0.0.2:2379")
    roles = {"prefill": {"count": 1, "kv_port": 13003}, "decode": {"count": 1, "kv_port": 13053}}
    assert config(v0(**roles, metadata="10.0.0.2:2379"))["decode_url"] == "127.0.0.1:13053"


def test_tcp_has_no_device() -> None:
    found = config(v0(transport="mooncake_tcp", nics=["mlx5_0"]))
    assert (found["protocol"], found["device_name"]) == ("tcp", "")


@pytest.mark.parametrize(
    ("value", "written"),
    [("2e9", "2e9"), (2e9, "2e9"), (2_000_000_000, "2e9"), (1_500_000_000, "15e8"), (3221225472, "3221225472")],
)
def test_the_buffer_stays_a_number(value: object, written: str) -> None:
    text = option(process(v0(workers={"flags": {"kv-buffer-size": value}}), "prefill-0"), "kv-transfer-config")
    assert text is not None
    assert text.endswith(f'"kv_buffer_size":{written}}}')
    assert json.loads(text)["kv_buffer_size"] == float(str(value))


@settings(deadline=None)
@given(st.one_of(st.integers(1, 10**15), st.floats(1, 1e15, allow_nan=False)))
def test_any_size_of_the_buffer_is_read_back_as_it_was(value: float) -> None:
    try:
        made = v0(workers={"flags": {"kv-buffer-size": value}})
    except ConfigError as error:
        assert "kv-buffer-size" in str(error)
        return
    assert kv(process(made, "prefill-0"))["kv_buffer_size"] == value


def test_the_band_of_ports_is_said_in_the_spelling_of_its_mooncake_too() -> None:
    env = process(v0(rpc_ports=[15000, 15100]), "decode-0").env
    assert (env["MC_MIN_RPC_PORT"], env["MC_MAX_PRC_PORT"]) == ("15000", "15100")
    assert not any("PRC" in name for name in process(planned(**PAIR, rpc_ports="auto"), "decode-0").env)
    old = process(planned(**PAIR, rpc_ports="auto", engine_version="0.16.0"), "decode-0").env
    assert old["MC_MIN_PRC_PORT"] == old["MC_MIN_RPC_PORT"]


def test_a_version_that_has_no_such_engine_is_an_error() -> None:
    def found(version: str) -> dict[str, Severity]:
        return {each.id: each.severity for each in v0(engine_version=version).findings}

    assert found("0.33.0")["vllm-v0-engine"] is Severity.ERROR
    assert found("0.8.5")["vllm-v0-engine"] is Severity.ERROR
    assert found("0.8.4")["vllm-v0-mooncake-build"] is Severity.INFO
    assert found("0.6.4.post1")["vllm-v0-mooncake-build"] is Severity.INFO
