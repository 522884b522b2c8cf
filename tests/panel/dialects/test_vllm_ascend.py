from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.dialects.vllm_ascend import first_free_kv_port
from pdpanel.panel.launch import LaunchPlan

from .vllm_plans import PAIR, kv, option, planned, process

NODES: dict[str, object] = {
    "prefill": {"count": 1, "hosts": ["192.0.0.1"]},
    "decode": {"count": 1, "hosts": ["192.0.0.2"]},
    "ascend": {"interface": "eth0"},
}


def ascend(**fields: object) -> LaunchPlan:
    return planned(**{"dialect": "vllm-ascend", **fields})


def test_the_documents_single_node() -> None:
    made = ascend(
        prefill={"count": 1, "kv_port": 30000},
        decode={"count": 1, "kv_port": 30100},
        workers={"tp": 1, "context_length": 40000, "mem_fraction": 0.9},
        host="192.0.0.1",
        ascend={"interface": "eth0"},
        router={"port": 8080},
    )
    prefill, decode = process(made, "prefill-0"), process(made, "decode-0")
    assert option(prefill, "kv-transfer-config") == (
        '{"kv_connector": "MooncakeConnectorV1", "kv_role": "kv_producer", "kv_port": "30000", "engine_id": "0", '
        '"kv_connector_extra_config": {"prefill": {"dp_size": 1, "tp_size": 1}, '
        '"decode": {"dp_size": 1, "tp_size": 1}}}'
    )
    assert (kv(decode)["engine_id"], kv(decode)["kv_port"]) == ("1", "30100")
    assert prefill.env == {
        "HCCL_IF_IP": "192.0.0.1",
        "GLOO_SOCKET_IFNAME": "eth0",
        "TP_SOCKET_IFNAME": "eth0",
        "HCCL_SOCKET_IFNAME": "eth0",
        "ASCEND_RT_VISIBLE_DEVICES": "0",
    }
    assert decode.env["ASCEND_RT_VISIBLE_DEVICES"] == "1"
    assert process(made, "router").argv == (
        *("python3", "load_balance_proxy_server_example.py", "--host", "192.0.0.1", "--port", "8080"),
        *("--prefiller-hosts", "192.0.0.1", "--prefiller-ports", "13700"),
        *("--decoder-hosts", "192.0.0.1", "--decoder-ports", "13701"),
    )


def test_both_sides_know_both_sizes() -> None:
    nodes = {**NODES, "prefill": {"count": 2, "hosts": ["192.0.0.1", "192.0.0.3"], "tp": 8, "dp": 2}}
    made = ascend(**nodes, workers={"tp": 16})
    sizes = {"prefill": {"dp_size": 2, "tp_size": 8}, "decode": {"dp_size": 1, "tp_size": 16}}
    for name in ("prefill-0", "prefill-1", "decode-0"):
        assert kv(process(made, name))["kv_connector_extra_config"] == sizes
    assert [kv(process(made, name))["engine_id"] for name in ("prefill-0", "prefill-1", "decode-0")] == ["0", "1", "2"]


@pytest.mark.parametrize(("npus", "first"), [(8, 28000), (16, 36000)])
def test_the_transport_reserves_a_thousand_ports_for_each_npu(npus: int, first: int) -> None:
    assert first_free_kv_port(npus) == first
    hosts = {"192.0.0.1": {"gpus": npus}}

    def port(wished: int) -> str:
        roles = {**NODES, "prefill": {"count": 1, "hosts": ["192.0.0.1"], "kv_port": wished}}
        return kv(process(ascend(**roles, hosts=hosts), "prefill-0"))["kv_port"]

    assert port(first) == str(first)
    with pytest.raises(ConfigError, match=rf"prefill\.kv_port.*{first}"):
        port(first - 1)
    with pytest.raises(ConfigError, match=r"kv_port"):
        port(20000)


def test_defaults_are_free_on_any_node() -> None:
    made = ascend(**NODES, workers={"tp": 16})
    assert [kv(process(made, name))["kv_port"] for name in ("prefill-0", "decode-0")] == ["36000", "36100"]


def test_several_nodes_need_an_interface_and_addresses() -> None:
    with pytest.raises(ConfigError, match=r"ascend\.interface"):
        ascend(**{**NODES, "ascend": {}})
    with pytest.raises(ConfigError, match=r"HCCL_IF_IP.*hosts\.npu1\.address"):
        ascend(**{**NODES, "prefill": {"count": 1, "hosts": ["npu1"]}})
    named = ascend(**{**NODES, "prefill": {"count": 1, "hosts": ["npu1"]}}, hosts={"npu1": {"address": "192.0.0.9"}})
    assert process(named, "prefill-0").env["HCCL_IF_IP"] == "192.0.0.9"


def test_a_local_pair_needs_nothing_of_the_network() -> None:
    assert set(process(ascend(**PAIR), "prefill-0").env) == {"ASCEND_RT_VISIBLE_DEVICES"}
