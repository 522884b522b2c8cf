from __future__ import annotations

import pytest
from pdpanel.panel.launch import Role

from .sglang_plans import ids, made, option, process


def test_a_pair_says_no_more_than_it_must() -> None:
    plan = made()
    assert process(plan, "prefill-0").argv == (
        *("python3", "-m", "sglang.launch_server", "--model-path", "org/m"),
        *("--disaggregation-mode", "prefill", "--port", "30000"),
    )
    assert process(plan, "decode-0").argv == (
        *("python3", "-m", "sglang.launch_server", "--model-path", "org/m"),
        *("--disaggregation-mode", "decode", "--port", "30001", "--base-gpu-id", "1"),
    )
    assert [dict(spec.env) for spec in plan.processes] == [{}, {}, {}]
    assert plan.env == {} and plan.files == () and plan.findings == ()


def test_the_router_starts_when_all_workers_answer() -> None:
    plan = made(decode={"count": 2})
    prefill, *_, router = plan.processes
    assert prefill.ready.url == "http://127.0.0.1:30000/health"
    assert prefill.info_url == "http://127.0.0.1:30000/get_server_info"
    assert prefill.ports == {"http": 30000, "bootstrap": 8998}
    assert router.after == ("prefill-0", "decode-0", "decode-1")
    assert router.ready.url == "http://127.0.0.1:8000/readiness"
    assert plan.requests[0].argv[3] == "http://127.0.0.1:8000/generate"


def test_watching_turns_metrics_on_once() -> None:
    plan = made(observe=True, decode={"flags": {"enable-metrics": True}})
    for name in ("prefill-0", "decode-0"):
        spec = process(plan, name)
        assert spec.argv.count("--enable-metrics") == 1
        assert spec.env["MC_TE_METRIC"] == "1"
        assert spec.metrics_url.endswith("/metrics")
    assert process(made(), "prefill-0").metrics_url == ""


def test_mooncakes_ports_are_a_band_on_workers_that_use_it() -> None:
    plan = made(rpc_ports=[15000, 15099])
    assert process(plan, "decode-0").env == {"MC_MIN_RPC_PORT": "15000", "MC_MAX_RPC_PORT": "15099"}
    assert process(plan, "router").env == {}
    assert process(made(rpc_ports="auto", transport="nixl"), "decode-0").env == {}


def test_every_size_has_its_option() -> None:
    plan = made(
        served_model_name="m",
        workers={
            "tp": 8,
            "pp": 2,
            "dp": 2,
            "ep": 8,
            "moe_a2a": "deepep",
            "mem_fraction": 0.85,
            "context_length": 8192,
            "page_size": 64,
            "chunked_prefill_size": -1,
            "max_running_requests": 32,
            "kv_cache_dtype": "fp8_e5m2",
            "trust_remote_code": True,
        },
    )
    argv = process(plan, "prefill-0").argv
    expected = {
        "tp-size": "8",
        "pp-size": "2",
        "dp-size": "2",
        "ep-size": "8",
        "moe-a2a-backend": "deepep",
        "mem-fraction-static": "0.85",
        "context-length": "8192",
        "page-size": "64",
        "chunked-prefill-size": "-1",
        "max-running-requests": "32",
        "kv-cache-dtype": "fp8_e5m2",
        "served-model-name": "m",
    }
    assert {name: option(argv, name) for name in expected} == {name: [text] for name, text in expected.items()}
    assert "--chunked-prefill-size=-1" in argv
    assert "--trust-remote-code" in argv and "--enable-dp-attention" not in argv


@pytest.mark.parametrize(
    ("version", "fields", "expected", "translated"),
    [
        ("", {"dp": 4, "dp_attention": True}, ["--dp-size", "4", "--enable-dp-attention"], False),
        ("", {"attn_dp": 4}, ["--attn-dp-size", "4"], False),
        ("0.5.20", {"dp": 4, "dp_attention": True}, ["--dp-size", "4", "--enable-dp-attention"], False),
        ("0.5.20", {"attn_dp": 4}, ["--dp-size", "4", "--enable-dp-attention"], True),
        ("0.5.22", {"dp": 4, "dp_attention": True}, ["--attn-dp-size", "4"], True),
        ("0.5.23", {"attn_dp": 4}, ["--attn-dp-size", "4"], False),
        ("v0.5.23", {"dp": 4, "dp_attention": True}, ["--attn-dp-size", "4"], True),
    ],
)
def test_dp_attention_is_spelled_by_version(
    version: str, fields: dict[str, object], expected: list[str], translated: bool
) -> None:
    plan = made(engine_version=version, workers={"tp": 8, **fields})
    argv = process(plan, "decode-0").argv
    assert [word for word in argv[argv.index("--tp-size") + 2 :]] == expected
    assert ("flag-translated" in ids(plan)) is translated


def test_a_group_starts_at_the_first_node_of_its_own_role() -> None:
    plan = made(
        workers={"tp": 16},
        prefill={"hosts": ["p1", "p2"], "nodes": 2, "dist_port": 5100},
        decode={"hosts": ["d1", "d2"], "nodes": 2},
    )
    prefill = [spec for spec in plan.processes if spec.role is Role.PREFILL]
    assert [option(spec.argv, "dist-init-addr") for spec in prefill] == [["p1:5100"], ["p1:5100"]]
    assert [option(spec.argv, "node-rank") for spec in prefill] == [["0"], ["1"]]
    assert [option(spec.argv, "host") for spec in prefill] == [["p1"], ["p2"]]
    assert [spec.ready.url for spec in prefill] == ["http://p1:30000/health", ""]
    assert option(process(plan, "decode-0-rank1").argv, "dist-init-addr") == ["d1:5000"]
    assert [spec.after for spec in prefill] == [(), ()]
    assert plan.processes[-1].after == ("prefill-0", "decode-0")
    assert option(plan.processes[-1].argv, "prefill") == ["http://p1:30000"]


def test_a_worker_of_one_node_names_its_start_when_the_role_does() -> None:
    plan = made(workers={"tp": 2}, decode={"count": 2, "dist_port": 5000})
    starts = [option(process(plan, f"decode-{index}").argv, "dist-init-addr") for index in (0, 1)]
    assert starts[0] == ["127.0.0.1:5000"]
    assert starts[1] is not None and starts[1] != starts[0]
    assert option(process(plan, "decode-0").argv, "nnodes") == ["1"]
    assert option(process(plan, "prefill-0").argv, "dist-init-addr") is None


def test_hosts_bring_their_address_and_ipv6_its_brackets() -> None:
    plan = made(prefill={"hosts": ["fd00::1"]}, decode={"hosts": ["n2"]}, hosts={"n2": {"address": "10.0.0.2"}})
    assert option(process(plan, "prefill-0").argv, "host") == ["fd00::1"]
    assert option(process(plan, "decode-0").argv, "host") == ["10.0.0.2"]
    router = process(plan, "router").argv
    assert option(router, "prefill") == ["http://[fd00::1]:30000"]
    assert option(router, "decode") == ["http://10.0.0.2:30001"]
    assert option(process(made(host="10.0.0.7"), "prefill-0").argv, "host") == ["10.0.0.7"]


def test_visible_devices_take_the_place_of_the_first_gpu() -> None:
    plan = made(gpu_selection="visible-devices", workers={"tp": 2})
    decode = process(plan, "decode-0")
    assert decode.env["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert option(decode.argv, "base-gpu-id") is None
    ascend = made(gpu_selection="visible-devices", transport="ascend", ascend={"store_url": "tcp://10.0.0.1:24669"})
    assert process(ascend, "decode-0").env["ASCEND_RT_VISIBLE_DEVICES"] == "1"


def test_a_bootstrap_port_is_told_where_it_is_not_the_engines() -> None:
    plan = made(prefill={"count": 2})
    first, second = process(plan, "prefill-0"), process(plan, "prefill-1")
    assert option(first.argv, "disaggregation-bootstrap-port") is None
    assert option(second.argv, "disaggregation-bootstrap-port") == ["8999"]
    router = process(plan, "router").argv
    assert [router[i + 1 : i + 3] for i, word in enumerate(router) if word == "--prefill"] == [
        ("http://127.0.0.1:30000", "8998"),
        ("http://127.0.0.1:30001", "8999"),
    ]
    assert option(process(plan, "decode-0").argv, "disaggregation-bootstrap-port") is None


def test_without_a_router_decode_is_told_prefills_bootstrap_port() -> None:
    plan = made(prefill={"bootstrap_port": 9100}, router={"kind": "none"})
    assert option(process(plan, "decode-0").argv, "disaggregation-bootstrap-port") == ["9100"]
    assert plan.requests == ()


def test_a_persons_flags_come_last_and_in_the_versions_words() -> None:
    flags = {"cuda-graph-bs": [1, 2, 4], "stream-output": True, "off": False}
    plan = made(engine_version="0.5.23", decode={"flags": flags})
    argv = process(plan, "decode-0").argv
    assert argv[-5:] == ("--cuda-graph-bs-decode", "1", "2", "4", "--incremental-streaming-output")
    assert "flag-translated" in ids(plan)
    old = process(made(engine_version="0.5.9", decode={"flags": flags}), "decode-0").argv
    assert old[-5:] == ("--cuda-graph-bs", "1", "2", "4", "--stream-output")


def test_an_encoder_serves_prefill_alone() -> None:
    plan = made(
        transport="mooncake",
        nics=["mlx5_0"],
        encoder={"count": 2, "encoder_transfer": "mooncake"},
        prefill={"count": 2, "tp": 1},
    )
    encoder, prefill = process(plan, "encoder-1"), process(plan, "prefill-1")
    assert "--encoder-only" in encoder.argv and option(encoder.argv, "disaggregation-mode") is None
    assert option(encoder.argv, "disaggregation-ib-device") == ["mlx5_0"]
    assert option(prefill.argv, "encoder-urls") == [f"http://127.0.0.1:{port}" for port in (30003, 30004)]
    assert option(prefill.argv, "encoder-transfer-backend") == ["mooncake"]
    assert option(prefill.argv, "encoder-bootstrap-port") == ["8996"]
    assert option(process(plan, "prefill-0").argv, "encoder-bootstrap-port") is None
    assert "--language-only" not in process(plan, "decode-0").argv
    assert option(process(plan, "decode-0").argv, "disaggregation-transfer-backend") == ["mooncake"]


def test_unified_workers_are_plain_servers_behind_the_router() -> None:
    plan = made(unified={"count": 2, "tp": 2}, observe=True)
    first, second = process(plan, "unified-0"), process(plan, "unified-1")
    assert first.argv[3:] == ("--model-path", "org/m", "--tp-size", "2", "--enable-metrics")
    assert option(second.argv, "port") == ["30001"] and option(second.argv, "base-gpu-id") == ["2"]
    assert first.env == {}
    router = process(plan, "router").argv
    assert option(router, "worker-urls") == ["http://127.0.0.1:30000", "http://127.0.0.1:30001"]
    assert "--pd-disaggregation" not in router
