from __future__ import annotations

import json

import pytest
from pdpanel.panel.launch import Role

from .sglang_plans import made, option, refused


def test_prefill_keeps_kv_in_the_store_and_decode_does_not() -> None:
    plan = made(store={"segment_size": "80GB", "offload": True}, nics=["m0", "m1"])
    store, prefill, decode, _ = plan.processes
    assert store.role is Role.STORE and store.argv[0] == "mooncake_master"
    assert prefill.after == decode.after == (store.name,)
    assert option(prefill.argv, "hicache-storage-backend") == ["mooncake"]
    assert "--enable-hierarchical-cache" not in decode.argv
    assert prefill.env == {"SGLANG_HICACHE_MOONCAKE_CONFIG_PATH": "mooncake_config.json"} and decode.env == {}
    (file,) = plan.files
    assert json.loads(file.text) == {
        "local_hostname": "localhost",
        "metadata_server": "http://127.0.0.1:8080/metadata",
        "master_server_address": "127.0.0.1:50051",
        "protocol": "rdma",
        "device_name": "m0,m1",
        "global_segment_size": "80GB",
        "enable_ssd_offload": True,
    }


def test_each_node_has_a_file_with_its_own_name() -> None:
    hosts = {"n1": {"address": "10.0.0.1"}}
    plan = made(unified={"count": 2, "hosts": ["n1", "n2"]}, hosts=hosts, store={"master": "n2:50051"})
    texts = {file.node: json.loads(file.text) for file in plan.files}
    assert {node: text["local_hostname"] for node, text in texts.items()} == {"n1": "10.0.0.1", "n2": "n2"}
    assert {text["master_server_address"] for text in texts.values()} == {"n2:50051"}
    assert {text["metadata_server"] for text in texts.values()} == {"http://n2:8080/metadata"}
    assert plan.processes[0].node == "n2"


def test_a_master_elsewhere_is_not_started() -> None:
    plan = made(unified={"count": 1}, store={"master": "10.0.0.9:50051", "start": False, "metadata": "P2PHANDSHAKE"})
    assert {spec.role for spec in plan.processes} == {Role.UNIFIED, Role.ROUTER}
    config = json.loads(plan.files[0].text)
    assert config["master_server_address"] == "10.0.0.9:50051"
    assert config["metadata_server"] == "P2PHANDSHAKE"
    silent = made(unified={"count": 1}, store={"master": "10.0.0.9:50051", "start": False})
    assert json.loads(silent.files[0].text)["metadata_server"] == "http://10.0.0.9:8080/metadata"


def test_a_master_serves_metadata_unless_another_does() -> None:
    other = made(unified={"count": 1}, store={"metadata": "P2PHANDSHAKE", "flags": {"eviction-ratio": 0.1}})
    assert other.processes[0].argv == (
        "mooncake_master",
        "--eviction_high_watermark_ratio=0.95",
        "--eviction_ratio=0.1",
    )
    own = made(unified={"count": 1}, store={"metadata": "http://127.0.0.1:8085/metadata"})
    assert "--http_metadata_server_port=8085" in own.processes[0].argv
    assert json.loads(own.files[0].text)["metadata_server"] == "http://127.0.0.1:8085/metadata"


def test_tcp_has_no_devices() -> None:
    plan = made(transport="mooncake_tcp", store={}, nics=["m0"])
    config = json.loads(plan.files[0].text)
    assert (config["protocol"], config["device_name"]) == ("tcp", "")


@pytest.mark.parametrize("master", ["127.0.0.1", "h:0", "h:70000", "::1:5"])
def test_a_master_that_is_no_address(master: str) -> None:
    refused("store.master", "port|lacks|IPv6", store={"master": master})


def test_fields_that_hicache_does_not_have() -> None:
    refused("store.buffer_size", "means nothing", store={"buffer_size": "4GB"})
    refused("store.metadata", "lacks the path", store={"metadata": "http://h:1"})
