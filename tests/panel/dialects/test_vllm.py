from __future__ import annotations

import json

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.launch import Role

from .vllm_plans import PAIR, TWO_NODES, ids, kv, option, planned, process


def test_a_pair_is_two_servers_and_the_documents_proxy() -> None:
    made = planned(**TWO_NODES)
    assert [spec.name for spec in made.processes] == ["prefill-0", "decode-0", "router"]
    assert process(made, "prefill-0").argv == (
        *("vllm", "serve", "org/m", "--port", "8100", "--kv-transfer-config"),
        '{"kv_connector":"MooncakeConnector","kv_role":"kv_producer"}',
    )
    assert process(made, "decode-0").argv[-1] == '{"kv_connector":"MooncakeConnector","kv_role":"kv_consumer"}'
    proxy = process(made, "router")
    assert proxy.role is Role.PROXY
    assert proxy.argv[1:] == (
        "examples/disaggregated/mooncake_connector/mooncake_connector_proxy.py",
        *("--prefill", "http://10.0.0.1:8100", "--decode", "http://10.0.0.2:8200"),
    )
    assert all(dict(spec.env) == {} for spec in made.processes)
    assert ids(made) == {"vllm-proxy-source", "vllm-proxy-loopback"}


def test_the_fields_of_a_worker_become_vllms_options() -> None:
    workers = {
        "tp": 4, "pp": 2, "dp": 2, "ep": 8, "mem_fraction": 0.85, "context_length": 8192, "page_size": 64,
        "chunked_prefill_size": 4096, "max_running_requests": 32, "kv_cache_dtype": "fp8", "trust_remote_code": True,
        "flags": {"seed": 1024, "enforce-eager": True, "async-scheduling": False},
    }  # fmt: skip
    spec = process(planned(**TWO_NODES, workers=workers, served_model_name="nice", modelscope=True), "prefill-0")
    expected = {
        "served-model-name": "nice", "tensor-parallel-size": "4", "pipeline-parallel-size": "2",
        "data-parallel-size": "2", "gpu-memory-utilization": "0.85", "max-model-len": "8192", "block-size": "64",
        "max-num-batched-tokens": "4096", "max-num-seqs": "32", "kv-cache-dtype": "fp8", "seed": "1024",
    }  # fmt: skip
    assert {name: option(spec, name) for name in expected} == expected
    assert {"--enable-expert-parallel", "--trust-remote-code", "--enforce-eager"} <= set(spec.argv)
    assert not any("async" in word for word in spec.argv)
    assert spec.env == {"VLLM_USE_MODELSCOPE": "True"}


def test_prompts_in_one_piece_and_chunks_of_nothing() -> None:
    spec = process(planned(**TWO_NODES, workers={"chunked_prefill_size": -1}), "prefill-0")
    assert "--no-enable-chunked-prefill" in spec.argv
    with pytest.raises(ConfigError, match="chunked_prefill_size"):
        planned(**TWO_NODES, workers={"chunked_prefill_size": 0})


def test_experts_are_spread_over_all_ranks_or_not() -> None:
    with pytest.raises(ConfigError, match="tp \\* dp = 4"):
        planned(**TWO_NODES, workers={"tp": 4, "ep": 8})
    assert "--enable-expert-parallel" not in process(planned(**TWO_NODES, workers={"ep": 1}), "prefill-0").argv


def test_a_flag_that_the_plan_writes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tensor-parallel-size.*plan writes"):
        planned(**TWO_NODES, workers={"tp": 2, "flags": {"tensor-parallel-size": 4}})
    with pytest.raises(ConfigError, match="kv-transfer-config"):
        planned(**TWO_NODES, workers={"flags": {"kv-transfer-config": "{}"}})
    with pytest.raises(ConfigError, match=r"data-parallel-size.*field dp"):
        planned(**TWO_NODES, workers={"flags": {"data-parallel-size": 4}})


def test_a_flag_of_another_version_is_translated_or_refused() -> None:
    made = planned(**TWO_NODES, workers={"flags": {"disable-log-requests": True}})
    assert "--no-enable-log-requests" in process(made, "prefill-0").argv
    assert len([each for each in made.findings if "disable-log-requests" in each.subject + each.reason]) == 1
    made = planned(**TWO_NODES, workers={"flags": {"no-such-option": 1}})
    assert any("--no-such-option" in each.subject + each.reason for each in made.findings)


def test_a_policy_that_the_router_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"router\.policy.*round_robin"):
        planned(**TWO_NODES, router={"kind": "vllm-router", "policy": "round-robin"})


def test_workers_that_share_a_node_are_told_their_gpus() -> None:
    made = planned(**PAIR, workers={"tp": 2})
    assert process(made, "prefill-0").env["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert process(made, "decode-0").env["CUDA_VISIBLE_DEVICES"] == "2,3"
    alone = planned(**TWO_NODES, workers={"tp": 2})
    assert "CUDA_VISIBLE_DEVICES" not in process(alone, "prefill-0").env
    chosen = planned(prefill={"count": 1, "hosts": ["a"], "gpus": [4, 5], "tp": 2}, decode={"count": 1, "hosts": ["b"]})
    assert process(chosen, "prefill-0").env["CUDA_VISIBLE_DEVICES"] == "4,5"
    assert "CUDA_VISIBLE_DEVICES" not in process(planned(**PAIR, gpu_selection="none"), "prefill-0").env


def test_nics_limit_mooncakes_search() -> None:
    made = planned(**TWO_NODES, nics=["mlx5_0", "mlx5_1"])
    assert kv(process(made, "decode-0"))["kv_connector_extra_config"] == {"device_name": "mlx5_0,mlx5_1"}
    made = planned(**TWO_NODES, workers={"tp": 2}, nics={"0": ["mlx5_0", "mlx5_1"], "1": ["mlx5_1", "mlx5_2"]})
    assert kv(process(made, "decode-0"))["kv_connector_extra_config"] == {"device_name": "mlx5_0,mlx5_1,mlx5_2"}


def test_tcp_is_said_to_the_connector_and_to_mooncake() -> None:
    made = planned(**TWO_NODES, transport="mooncake_tcp", nics=["mlx5_0"], limits={"thread_pool": 4})
    extra = kv(process(made, "prefill-0"))["kv_connector_extra_config"]
    assert extra == {"num_workers": 4, "mooncake_protocol": "tcp"}
    assert kv(process(made, "decode-0"))["kv_connector_extra_config"] == {"mooncake_protocol": "tcp"}
    assert process(made, "prefill-0").env == {"MC_FORCE_TCP": "1"}


def test_observing_and_a_band_of_ports() -> None:
    made = planned(**TWO_NODES, observe=True, rpc_ports=[15000, 15200])
    env = process(made, "decode-0").env
    assert env == {"MC_TE_METRIC": "1", "MC_MIN_RPC_PORT": "15000", "MC_MAX_RPC_PORT": "15200"}


def test_bootstrap_ports_are_said_where_they_are_not_the_one_that_all_assume() -> None:
    made = planned(prefill={"count": 2, "hosts": ["a"]}, decode={"count": 1, "hosts": ["b"]})
    assert "VLLM_MOONCAKE_BOOTSTRAP_PORT" not in process(made, "prefill-0").env
    assert process(made, "prefill-1").env["VLLM_MOONCAKE_BOOTSTRAP_PORT"] == "8999"
    argv = process(made, "router").argv
    assert argv[2:8] == ("--prefill", "http://a:8100", "8998", "--prefill", "http://a:8101", "8999")
    asked = planned(prefill={"count": 1, "bootstrap_port": 8998}, decode={"count": 1, "bootstrap_port": 9001})
    assert process(asked, "prefill-0").env["VLLM_MOONCAKE_BOOTSTRAP_PORT"] == "8998"
    assert process(asked, "decode-0").env["VLLM_MOONCAKE_BOOTSTRAP_PORT"] == "9001"
    assert process(asked, "prefill-0").ports == {"http": 8100, "bootstrap": 8998}


def test_nixl_has_a_side_channel_on_each_worker_and_the_real_router() -> None:
    fields: dict[str, object] = {"transport": "nixl", "nixl": {"backend": "LIBFABRIC"}, "workers": {"dp": 2}}
    made = planned(**PAIR, **fields)
    prefill, decode = process(made, "prefill-0"), process(made, "decode-0")
    assert prefill.env["VLLM_NIXL_SIDE_CHANNEL_PORT"] == "5600"
    assert decode.env["VLLM_NIXL_SIDE_CHANNEL_PORT"] == "5602"
    assert "VLLM_NIXL_SIDE_CHANNEL_HOST" not in prefill.env
    assert kv(prefill) == {
        "kv_connector": "NixlConnector",
        "kv_role": "kv_producer",
        "kv_connector_extra_config": {"backends": ["LIBFABRIC"]},
    }
    router = process(made, "router")
    assert router.role is Role.ROUTER
    assert router.argv == (
        *("vllm-router", "--policy", "round_robin", "--vllm-pd-disaggregation"),
        *("--prefill", "http://127.0.0.1:8100", "--decode", "http://127.0.0.1:8200"),
        *("--intra-node-data-parallel-size", "2", "--host", "127.0.0.1", "--port", "8000"),
    )
    apart = planned(**TWO_NODES, transport="nixl", nics=["mlx5_0", "mlx5_1"])
    assert process(apart, "decode-0").env == {
        "VLLM_NIXL_SIDE_CHANNEL_PORT": "5600",
        "VLLM_NIXL_SIDE_CHANNEL_HOST": "10.0.0.2",
        "UCX_NET_DEVICES": "mlx5_0:1,mlx5_1:1",
    }


def test_nixls_own_proxy_when_asked_for() -> None:
    argv = process(planned(**TWO_NODES, transport="nixl", router={"kind": "proxy", "port": 9000}), "router").argv
    assert argv[1:] == (
        *("tests/v1/kv_connector/nixl_integration/toy_proxy_server.py", "--port", "9000"),
        *("--prefiller-hosts", "10.0.0.1", "--prefiller-ports", "8100"),
        *("--decoder-hosts", "10.0.0.2", "--decoder-ports", "8200"),
    )


def test_vllm_router_for_mooncake_is_told_the_connector() -> None:
    router = {"kind": "vllm-router", "policy": "consistent_hash", "metrics_port": 29001, "host": "0.0.0.0"}
    made = planned(**TWO_NODES, router=router)
    assert process(made, "router").argv == (
        *("vllm-router", "--policy", "consistent_hash", "--vllm-pd-disaggregation", "--kv-connector", "mooncake"),
        *("--prefill", "http://10.0.0.1:8100", "8998", "--decode", "http://10.0.0.2:8200"),
        *("--host", "0.0.0.0", "--port", "8000", "--prometheus-port", "29001"),
    )
    assert process(made, "router").ready.url == "http://127.0.0.1:8000/health"
    assert ids(made) == set()


def test_mori_workers_register_at_the_router() -> None:
    made = planned(**PAIR, transport="mori", workers={"tp": 4})
    prefill, decode = process(made, "prefill-0"), process(made, "decode-0")
    assert kv(prefill)["kv_connector_extra_config"] == {
        "proxy_ip": "127.0.0.1", "proxy_ping_port": "36367", "http_port": "8100", "handshake_port": "5600",
        "notify_port": "61005",
    }  # fmt: skip
    assert kv(decode)["kv_connector_extra_config"]["notify_port"] == "61009"
    assert prefill.env == {"CUDA_VISIBLE_DEVICES": "0,1,2,3", "HIP_VISIBLE_DEVICES": "0,1,2,3"}
    argv = process(made, "router").argv
    assert argv[4:8] == ("--kv-connector", "moriio", "--vllm-discovery-address", "127.0.0.1:36367")
    assert "--prefill" not in argv
    with pytest.raises(ConfigError, match="registers at"):
        planned(**PAIR, transport="mori", router={"kind": "none"})


def test_unified_workers_have_no_connector() -> None:
    made = planned(unified={"count": 2}, workers={"tp": 1})
    assert process(made, "unified-0").argv == (
        "vllm",
        "serve",
        "org/m",
        "--port",
        "8100",
        "--tensor-parallel-size",
        "1",
    )
    assert process(made, "unified-1").env == {"CUDA_VISIBLE_DEVICES": "1"}
    argv = process(made, "router").argv
    assert argv[3:6] == ("--worker-urls", "http://127.0.0.1:8100", "http://127.0.0.1:8101")
    single = planned(unified={"count": 1}, router={"kind": "none"})
    assert single.requests[0].argv[2] == "http://localhost:8100/v1/completions"
    with pytest.raises(ConfigError, match="unified"):
        planned(unified={"count": 1}, router={"kind": "proxy"})


def test_several_nodes_by_their_number_without_data_parallel_ranks() -> None:
    hosts = {"count": 1, "nodes": 2, "hosts": ["a", "b"], "tp": 8, "pp": 2}
    made = planned(prefill=hosts, decode={"count": 1, "hosts": ["c"]})
    first, second = process(made, "prefill-0"), process(made, "prefill-0-rank1")
    assert (option(first, "nnodes"), option(first, "node-rank"), option(first, "master-addr")) == ("2", "0", "a")
    assert option(second, "node-rank") == "1"
    assert "--headless" in second.argv
    assert "--headless" not in first.argv
    assert option(first, "master-port") is None
    assert (second.ready.url, second.rank, first.ready.url) == ("", 1, "http://a:8100/health")


def test_data_parallel_ranks_are_spread_over_nodes() -> None:
    hosts = {"count": 1, "nodes": 2, "hosts": ["a", "b"], "tp": 2, "dp": 8}
    made = planned(prefill=hosts, decode={"count": 1, "hosts": ["c"]})
    second = process(made, "prefill-0-rank1")
    told = ("data-parallel-size", "data-parallel-size-local", "data-parallel-start-rank", "data-parallel-address")
    assert [option(second, name) for name in told] == ["8", "4", "4", "a"]
    assert option(second, "data-parallel-rpc-port") == "29501"
    with pytest.raises(ConfigError, match="multiple of 2"):
        planned(prefill={**hosts, "tp": 8, "dp": 3}, decode={"count": 1, "hosts": ["c"]})


@pytest.mark.parametrize(
    ("version", "fields", "said"),
    [
        ("0.12.0", {}, "MooncakeConnector.*0.13.*vllm-v0"),
        ("0.13.0", {"transport": "mooncake_tcp"}, "mooncake_protocol.*0.16"),
        ("0.24.0", {"nics": ["mlx5_0"]}, "device_name.*0.28"),
        ("0.20.2", {"store": {"master": "10.0.0.1:50051"}}, "MooncakeStoreConnector.*0.21"),
        ("0.22.0", {"store": {"master": "10.0.0.1:50051", "offload": True}}, "enable_offload.*0.24"),
        ("0.13.0", {"transport": "mori"}, "MoRIIOConnector.*0.16"),
    ],
)
def test_what_a_version_lacks_is_refused_with_what_helps(version: str, fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=f"engine_version.*{said}"):
        planned(**TWO_NODES, dialect="vllm", engine_version=version, **fields)


def test_old_versions_have_the_proxy_of_their_document() -> None:
    made = planned(**TWO_NODES, engine_version="0.15.0")
    assert process(made, "router").argv[1].endswith("toy_proxy_server.py")
    finding = next(each for each in made.findings if each.id == "vllm-proxy-source")
    assert finding.severity == "warning"


def test_workers_without_hosts_listen_everywhere_and_it_is_said() -> None:
    assert "vllm-listens-everywhere" in ids(planned(**PAIR))
    made = planned(**PAIR, host="127.0.0.1")
    assert "vllm-listens-everywhere" not in ids(made)
    assert option(process(made, "prefill-0"), "host") == "127.0.0.1"


def test_a_proxy_has_no_policy_and_no_metrics() -> None:
    with pytest.raises(ConfigError, match=r"router\.policy"):
        planned(**PAIR, router={"policy": "cache_aware"})
    with pytest.raises(ConfigError, match=r"router\.metrics_port"):
        planned(**PAIR, router={"metrics_port": 29000})


def test_the_request_asks_for_the_served_name() -> None:
    (request,) = planned(**TWO_NODES, served_model_name="nice", smoke_test={"temperature": 0}).requests
    assert request.node == "10.0.0.1"
    assert json.loads(request.argv[-1]) == {
        "model": "nice",
        "prompt": "San Francisco is a",
        "max_tokens": 7,
        "temperature": 0,
    }
