from __future__ import annotations

import json

import pytest

from .sglang_plans import ids, made, option, process, refused

ASCEND = {"store_url": "tcp://10.0.0.1:24669"}


@pytest.mark.parametrize("transport", ["nixl", "mori", "mooncake_tcp"])
def test_a_transport_that_is_not_the_engines_own_is_named(transport: str) -> None:
    plan = made(transport=transport)
    for name in ("prefill-0", "decode-0"):
        assert option(process(plan, name).argv, "disaggregation-transfer-backend") == [transport]
    assert plan.env == {}


def test_tcp_of_an_older_version_is_a_variable_without_nics() -> None:
    plan = made(transport="mooncake_tcp", engine_version="0.5.12.post1", nics=["mlx5_0"])
    prefill = process(plan, "prefill-0")
    assert prefill.env["MC_FORCE_TCP"] == "1"
    assert option(prefill.argv, "disaggregation-transfer-backend") is None
    assert option(prefill.argv, "disaggregation-ib-device") is None
    assert ids(plan) == {"sglang-forced-tcp", "sglang-ignored"}
    assert "MC_FORCE_TCP" not in process(made(transport="mooncake_tcp", engine_version="0.5.14"), "decode-0").env


def test_nics_as_a_list_and_as_a_map() -> None:
    listed = made(nics=["mlx5_0", "mlx5_1"], transport="nixl")
    assert option(process(listed, "decode-0").argv, "disaggregation-ib-device") == ["mlx5_0,mlx5_1"]
    mapped = made(nics={"0": ["mlx5_0"], "1": ["mlx5_1", "mlx5_2"]})
    words = option(process(mapped, "decode-0").argv, "disaggregation-ib-device")
    assert words is not None and json.loads(words[0]) == {"0": "mlx5_0", "1": "mlx5_1,mlx5_2"}
    own = made(nics=["a"], decode={"nics": ["b"]})
    assert option(process(own, "prefill-0").argv, "disaggregation-ib-device") == ["a"]
    assert option(process(own, "decode-0").argv, "disaggregation-ib-device") == ["b"]
    assert option(process(made(), "decode-0").argv, "disaggregation-ib-device") is None


def test_experts_over_mooncake_take_the_nics_of_kv_as_a_list() -> None:
    plan = made(workers={"tp": 2, "moe_a2a": "mooncake"}, nics={str(gpu): ["m0", f"m{gpu}"] for gpu in range(4)})
    argv = process(plan, "prefill-0").argv
    assert option(argv, "mooncake-ib-device") == ["m0,m1,m2,m3"]
    assert option(process(made(workers={"moe_a2a": "mooncake"}), "prefill-0").argv, "mooncake-ib-device") is None
    other = made(workers={"moe_a2a": "deepep"}, nics=["m0"])
    assert option(process(other, "prefill-0").argv, "mooncake-ib-device") is None


def test_nixl_names_its_plug_in() -> None:
    plan = made(transport="nixl", nixl={"backend": "LIBFABRIC", "params": {"a": "1"}})
    assert plan.env == {
        "SGLANG_DISAGGREGATION_NIXL_BACKEND": "LIBFABRIC",
        "SGLANG_DISAGGREGATION_NIXL_BACKEND_PARAMS": '{"a": "1"}',
    }
    assert "sglang-ignored" in ids(made(transport="nixl", nixl={"backend": "LIBFABRIC"}, nics=["efa_0"]))


def test_ascend_needs_its_store() -> None:
    plan = made(transport="ascend", ascend={**ASCEND, "protocol": "device_rdma", "interface": "eth0"})
    assert plan.env == {"ASCEND_MF_STORE_URL": ASCEND["store_url"], "ASCEND_MF_TRANSFER_PROTOCOL": "device_rdma"}
    assert process(plan, "decode-0").env["HCCL_SOCKET_IFNAME"] == "eth0"
    refused("ascend.store_url", "is missing", transport="ascend")
    for text in ("10.0.0.1:24669", "tcp://10.0.0.1", "tcp://:1", "tcp://h:0", "tcp://h:70000", "http://h:1"):
        refused("ascend.store_url", "is not tcp://HOST:PORT", transport="ascend", ascend={"store_url": text})


def test_npus_under_mooncake_are_counted_per_worker() -> None:
    plan = made(ascend={"via_mooncake": True}, prefill={"count": 2, "tp": 2, "npu_phy_id": 4}, decode={"npu_phy_id": 0})
    assert [process(plan, f"prefill-{i}").env["ASCEND_NPU_PHY_ID"] for i in (0, 1)] == ["4", "6"]
    decode = process(plan, "decode-0")
    assert decode.env == {"ENABLE_ASCEND_TRANSFER_WITH_MOONCAKE": "true", "ASCEND_NPU_PHY_ID": "0"}
    assert option(decode.argv, "disaggregation-transfer-backend") == ["mooncake"]


def test_fields_of_another_transport_are_refused() -> None:
    refused("ascend.store_url", "belongs to the transport ascend", ascend=ASCEND)
    refused(
        "ascend.via_mooncake", "carries KV by mooncake", transport="ascend", ascend={**ASCEND, "via_mooncake": True}
    )
    refused("ascend.via_mooncake", "needs the transport mooncake", transport="nixl", ascend={"via_mooncake": True})
    refused("nixl.backend", "belongs to the transport nixl", nixl={"backend": "UCX"})
    refused("nixl.params", "belongs to the transport nixl", nixl={"params": {"a": "b"}})
    refused("nvlink", "is a way of mooncake", nvlink=True, transport="nixl")
    refused("prefill.npu_phy_id", "no NPU carries KV", prefill={"npu_phy_id": 1})
    refused("transport", "is not one that", transport="tcp")


def test_variables_for_all() -> None:
    plan = made(nvlink=True, modelscope=True)
    assert plan.env == {
        "SGLANG_USE_MODELSCOPE": "true",
        "SGLANG_MOONCAKE_CUSTOM_MEM_POOL": "True",
        "MC_FORCE_MNNVL": "True",
    }


def test_limits_reach_the_role_that_reads_them() -> None:
    plan = made(limits={"thread_pool": 8, "queue_size": 8, "bootstrap_timeout_s": 600, "waiting_timeout_s": 900})
    assert process(plan, "prefill-0").env == {
        "SGLANG_DISAGGREGATION_THREAD_POOL_SIZE": "8",
        "SGLANG_DISAGGREGATION_QUEUE_SIZE": "8",
        "SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT": "600",
    }
    assert process(plan, "decode-0").env == {"SGLANG_DISAGGREGATION_WAITING_TIMEOUT": "900"}
    assert process(plan, "router").env == {}


def test_limits_that_the_server_would_refuse() -> None:
    refused("limits.thread_pool", "is less than the 4 queues", limits={"thread_pool": 3})
    refused("limits.thread_pool", "is less than the 6 queues", limits={"thread_pool": 5, "queue_size": 6})
    refused("limits.queue_size", "is more than the 12 threads", limits={"queue_size": 13})
    refused("limits.waiting_timeout_s", "is not a whole number", limits={"waiting_timeout_s": 0.5})
    assert ids(made(limits={"queue_size": 6})) == {"sglang-transfer-queues"}
    assert ids(made(limits={"heartbeat_interval_s": 0.5})) == {"sglang-ignored"}
    assert ids(made(limits={"queue_size": 1, "heartbeat_interval_s": 2})) == set()


def test_images_of_encoders_take_tcp_with_the_kv() -> None:
    fields = {"encoder": {"count": 1, "encoder_transfer": "mooncake"}, "nics": ["mlx5_0"], "engine_version": "0.5.23"}
    tcp, rdma = (process(made(**fields, transport=name), "encoder-0") for name in ("mooncake_tcp", "mooncake"))
    assert tcp.env == {"MC_FORCE_TCP": "1"} and option(tcp.argv, "disaggregation-ib-device") is None
    assert rdma.env == {} and option(rdma.argv, "disaggregation-ib-device") == ["mlx5_0"]
    by_zmq = {**fields, "encoder": {"count": 1, "encoder_transfer": "zmq_to_scheduler"}}
    assert process(made(**by_zmq, transport="mooncake_tcp"), "encoder-0").env == {}


def test_the_band_of_older_engines_is_spelled_both_ways() -> None:
    def names(**fields: object) -> set[str]:
        return {name for name in process(made(rpc_ports=(16000, 16100), **fields), "decode-0").env if "PORT" in name}

    right, wrong = {"MC_MIN_RPC_PORT", "MC_MAX_RPC_PORT"}, {"MC_MIN_PRC_PORT", "MC_MAX_PRC_PORT"}
    assert names() == names(engine_version="0.5.23") == right
    assert names(engine_version="0.5.9") == right | wrong
    assert names(dialect="sglang-legacy", nics=["mlx5_0"]) == right | wrong
