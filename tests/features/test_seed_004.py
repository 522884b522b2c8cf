"""Rows 123 to 151 of the feature table: SGLang's document of PD disaggregation."""

from __future__ import annotations

from typing import Any

import pytest
from feature_rows import doc, made, option, process, row
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe.gpus.ascend import parse_npu_smi
from pdpanel.panel.recipes.catalog import find_recipe, render_recipe

LLAMA: dict[str, Any] = {
    "engine": "sglang",
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "prefill": {"count": 1},
    "decode": {"count": 1},
    "router": {"host": "0.0.0.0", "port": 8000},
    "observe": False,
    "rpc_ports": None,
}
DEEPSEEK: dict[str, Any] = {
    "engine": "sglang",
    "model": "deepseek-ai/DeepSeek-V3-0324",
    "nics": ["mlx5_0"],
    "workers": {
        "tp": 16,
        "dp": 8,
        "dp_attention": True,
        "moe_a2a": "deepep",
        "mem_fraction": 0.8,
        "trust_remote_code": True,
    },
    "prefill": {"count": 1, "nodes": 2, "hosts": ["10.0.0.1", "10.0.0.2"], "dist_port": 5000},
    "decode": {
        "count": 1,
        "nodes": 2,
        "hosts": ["10.0.0.3", "10.0.0.4"],
        "dist_port": 5000,
        "max_running_requests": 128,
    },
    "observe": False,
    "rpc_ports": None,
}

_NPU_SMI = """
+------------------------------------------------------------------------------------------------+
| npu-smi 25.0.rc1                 Version: 25.0.rc1                                             |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 93.7        41                0    / 0             |
| 0                         | 0000:C1:00.0  | 17          0    / 0          3161 / 65536         |
+===========================+===============+====================================================+
"""


def installed(target: str) -> list[tuple[str, ...]]:
    return [tuple(command.argv) for command in render_recipe(find_recipe("install"), [f"targets={target}"]).commands]


@row(123, kind="sentence")
def test_the_rationale() -> None:
    text = doc("docs/pd-serving.md")
    assert "interrupts the tokens" in text and "DP attention" in text


@row(124, 141, 148, kind="generator")
@pytest.mark.parametrize("transport", ["mooncake", "nixl", "ascend"])
def test_transfer_engines(transport: str) -> None:
    ascend = {"ascend": {"store_url": "tcp://10.0.0.1:24669"}} if transport == "ascend" else {}
    argv = process(made({**LLAMA, "transport": transport, **ascend}), "prefill-0").argv
    expected = None if transport == "mooncake" else transport
    assert option(argv, "--disaggregation-transfer-backend") == expected


@row(125, kind="sentence")
def test_profiles_are_taken_one_by_one() -> None:
    assert "/start_profile" in doc("docs/pd-serving.md")


@row(126, kind="sentence")
def test_the_router_has_a_new_name() -> None:
    assert "SGLang Model Gateway" in doc("docs/pd-serving.md")


@row(127, 140, 144, kind="generator")
def test_install_commands() -> None:
    assert ("uv", "pip", "install", "mooncake-transfer-engine") in installed("mooncake")
    assert ("pip", "install", "nixl") in installed("nixl")
    assert any("-Ducx_path=" in word for argv in installed("nixl-src") for word in argv)
    assert any("memfabric-hybrid" in word for argv in installed("ascend") for word in argv)


@row(128, kind="generator")
def test_a_device_by_any_name() -> None:
    argv = process(made({**LLAMA, "nics": ["mlx5_roce0"]}), "decode-0").argv
    assert option(argv, "--disaggregation-ib-device") == "mlx5_roce0"


@row(129, kind="generator")
def test_one_gpu_each_on_one_node() -> None:
    argv = process(made(LLAMA), "decode-0").argv
    assert (option(argv, "--base-gpu-id"), option(argv, "--host")) == ("1", None)


@row(130, kind="generator")
def test_the_usual_bootstrap_port_needs_no_word() -> None:
    argv = process(made(LLAMA), "router").argv
    place = argv.index("--prefill")
    assert argv[place + 1 : place + 3] == ("http://127.0.0.1:30000", "--decode")
    other = process(made({**LLAMA, "prefill": {"count": 1, "bootstrap_port": 9001}}), "router").argv
    assert other[other.index("--prefill") + 2] == "9001"


@row(131, 132, 142, kind="generator")
@pytest.mark.parametrize("transport", ["mooncake", "nixl"])
def test_groups_of_nodes(transport: str) -> None:
    plan = made({**DEEPSEEK, "transport": transport})
    for name, master, rank in (
        ("prefill-0", "10.0.0.1", "0"),
        ("prefill-0-rank1", "10.0.0.1", "1"),
        ("decode-0", "10.0.0.3", "0"),
        ("decode-0-rank1", "10.0.0.3", "1"),
    ):
        argv = process(plan, name).argv
        assert option(argv, "--dist-init-addr") == f"{master}:5000"
        assert (option(argv, "--nnodes"), option(argv, "--node-rank")) == ("2", rank)
        assert (option(argv, "--tp-size"), option(argv, "--moe-a2a-backend")) == ("16", "deepep")
        assert option(argv, "--enable-dp-attention") == "" or option(argv, "--attn-dp-size") == "8"
        assert "--trust-remote-code" in argv
        assert option(argv, "--max-running-requests") == ("128" if name.startswith("decode") else None)


@row(133, kind="generator")
def test_nvlink_between_nodes() -> None:
    assert made({**LLAMA, "nvlink": True}).env == {"SGLANG_MOONCAKE_CUSTOM_MEM_POOL": "True", "MC_FORCE_MNNVL": "True"}
    assert "auxiliary data still travels over TCP" in doc("docs/pd-serving.md")


@row(134, 135, 136, kind="generator")
def test_prefills_limits() -> None:
    limits = {"thread_pool": 12, "queue_size": 4, "bootstrap_timeout_s": 600}
    plan = made({**LLAMA, "limits": limits})
    env = process(plan, "prefill-0").env
    assert env["SGLANG_DISAGGREGATION_THREAD_POOL_SIZE"] == "12"
    assert env["SGLANG_DISAGGREGATION_QUEUE_SIZE"] == "4"
    assert env["SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT"] == "600"
    assert not [name for name in process(plan, "decode-0").env if name.startswith("SGLANG_DISAGG")]
    with pytest.raises(ConfigError, match="thread_pool"):
        made({**LLAMA, "limits": {"thread_pool": 2, "queue_size": 4}})


@row(137, 138, 139, kind="generator")
def test_decodes_limits() -> None:
    limits = {"heartbeat_interval_s": 5.0, "heartbeat_max_failure": 2, "waiting_timeout_s": 600}
    env = process(made({**LLAMA, "limits": limits}), "decode-0").env
    assert env["SGLANG_DISAGGREGATION_HEARTBEAT_INTERVAL"] in {"5", "5.0"}
    assert env["SGLANG_DISAGGREGATION_HEARTBEAT_MAX_FAILURE"] == "2"
    assert env["SGLANG_DISAGGREGATION_WAITING_TIMEOUT"] == "600"


@row(143, kind="generator")
def test_nixls_plug_in() -> None:
    env = process(made({**LLAMA, "transport": "nixl", "nixl": {"backend": "LIBFABRIC"}}), "prefill-0").env
    assert env["SGLANG_DISAGGREGATION_NIXL_BACKEND"] == "LIBFABRIC"


@row(145, kind="check")
def test_ascends_store_has_an_address() -> None:
    plan = made({**LLAMA, "transport": "ascend", "ascend": {"store_url": "tcp://10.0.0.1:24669"}})
    assert plan.env["ASCEND_MF_STORE_URL"] == "tcp://10.0.0.1:24669"
    for wrong in ({"store_url": "10.0.0.1:24669"}, {"store_url": "http://10.0.0.1:1"}, {}):
        with pytest.raises(ConfigError, match="store_url"):
            made({**LLAMA, "transport": "ascend", "ascend": wrong})


@row(146, 147, kind="generator")
def test_ascend_through_mooncake_in_containers() -> None:
    fields = {
        **LLAMA,
        "ascend": {"via_mooncake": True},
        "prefill": {"count": 1, "npu_phy_id": 0},
        "decode": {"count": 1, "npu_phy_id": 1},
    }
    env = process(made(fields), "decode-0").env
    assert (env["ENABLE_ASCEND_TRANSFER_WITH_MOONCAKE"], env["ASCEND_NPU_PHY_ID"]) == ("true", "1")


@row(149, kind="generator")
def test_ascend_over_nodes() -> None:
    fields = {
        **LLAMA,
        "transport": "ascend",
        "ascend": {"store_url": "tcp://10.0.0.1:24669"},
        "workers": {"tp": 16},
        "prefill": {"count": 1, "hosts": ["10.0.0.1"]},
        "decode": {"count": 1, "hosts": ["10.0.0.2"]},
    }
    assert option(process(made(fields), "decode-0").argv, "--tp-size") == "16"


@row(150, kind="check")
def test_npus_are_found() -> None:
    assert "910B3" in str(parse_npu_smi(_NPU_SMI))


@row(151, kind="check")
def test_the_documents_ports() -> None:
    plan = made(DEEPSEEK)
    assert process(plan, "prefill-0").ports["http"] == 30000
    with pytest.raises(ConfigError, match="5000"):
        made({**DEEPSEEK, "prefill": {**DEEPSEEK["prefill"], "port": 5000}})
