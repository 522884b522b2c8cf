from __future__ import annotations

import json

import pytest
import yaml
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.launch import LaunchPlan, Role

from .vllm_plans import PAIR, TWO_NODES, ids, kv, option, planned, process


def config(made: LaunchPlan) -> dict[str, object]:
    (file,) = made.files
    assert (file.path, file.shared) == ("mooncake_config.json", True)
    return json.loads(file.text)


def test_a_store_stands_beside_the_connector_between_workers() -> None:
    made = planned(**PAIR, store={"segment_size": "80GB", "buffer_size": "4GB"}, router={"kind": "none"})
    assert [spec.name for spec in made.processes] == ["store", "prefill-0", "decode-0"]
    assert process(made, "store").argv == ("mooncake_master", "--port", "50051")
    prefill, decode = process(made, "prefill-0"), process(made, "decode-0")
    assert prefill.after == ("store",)
    text = option(prefill, "kv-transfer-config")
    assert text is not None
    assert text.startswith('{"kv_connector": "MultiConnector", "kv_role": "kv_producer", ')
    assert [each["kv_role"] for each in kv(prefill)["kv_connector_extra_config"]["connectors"]] == [
        *("kv_producer", "kv_both"),
    ]
    assert [each["kv_role"] for each in kv(decode)["kv_connector_extra_config"]["connectors"]] == ["kv_consumer"] * 2
    assert decode.env["MOONCAKE_CONFIG_PATH"] == "mooncake_config.json"
    assert list(config(made)) == [
        *("mode", "metadata_server", "master_server_address", "global_segment_size", "local_buffer_size"),
        *("protocol", "device_name", "enable_offload"),
    ]


def test_a_unified_worker_keeps_its_cache_in_the_store_alone() -> None:
    made = planned(unified={"count": 1}, store={}, router={"kind": "none"})
    assert kv(process(made, "unified-0")) == {"kv_connector": "MooncakeStoreConnector", "kv_role": "kv_both"}
    assert "global_segment_size" not in config(made)


def test_nixl_may_carry_what_the_store_keeps() -> None:
    made = planned(**TWO_NODES, transport="nixl", store={"master": "10.0.0.1:50051"})
    connectors = kv(process(made, "decode-0"))["kv_connector_extra_config"]["connectors"]
    assert [each["kv_connector"] for each in connectors] == ["NixlConnector", "MooncakeStoreConnector"]
    assert process(made, "store").node == "10.0.0.1"


def test_a_standalone_store_lends_the_memory() -> None:
    made = planned(**PAIR, store={"mode": "standalone-store", "offload": True}, nics=["mlx5_0"])
    found = config(made)
    assert (found["global_segment_size"], found["mode"], found["enable_offload"]) == (0, "standalone-store", True)
    assert found["device_name"] == "mlx5_0"
    assert process(made, "store").argv == ("mooncake_master", "--port", "50051", "--enable_offload=true")
    assert "store-client-needed" in ids(made)


def test_before_0_24_there_were_no_modes() -> None:
    assert list(config(planned(**PAIR, store={}, engine_version="0.22.0"))) == [
        *("metadata_server", "master_server_address", "protocol", "device_name"),
    ]


@pytest.mark.parametrize(
    ("store", "field"),
    [
        ({"segment_size": "0"}, "store.segment_size"),
        ({"segment_size": "0.0GB"}, "store.segment_size"),
        ({"segment_size": "many"}, "store.segment_size"),
        ({"segment_size": "-4GB"}, "store.segment_size"),
        ({"segment_size": "80GB", "mode": "standalone-store"}, "store.segment_size"),
        ({"buffer_size": "0"}, "store.buffer_size"),
        ({"master": "nobody"}, "store.master"),
    ],
)
def test_what_a_store_cannot_be(store: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}"):
        planned(**PAIR, store=store)


def test_one_file_cannot_name_two_lists_of_nics() -> None:
    roles = {"prefill": {"count": 1, "nics": ["mlx5_0"]}, "decode": {"count": 1, "nics": ["mlx5_1"]}}
    with pytest.raises(ConfigError, match=r"nics.*one for all"):
        planned(**roles, store={})
    assert config(planned(**roles, store={}, transport="mooncake_tcp"))["device_name"] == ""


def test_lmcache_has_a_file_for_each_worker_and_a_proxy_of_ours() -> None:
    store = {"kind": "lmcache", "master": "10.0.0.2:50051", "segment_size": "1.5GB"}
    made = planned(**TWO_NODES, store=store, nics=["mlx5_0"])
    assert process(made, "store").argv == (
        *("mooncake_master", "--rpc_port=50051", "--enable_http_metadata_server=true"),
        "--http_metadata_server_port=8080",
    )
    files = {file.path: file for file in made.files}
    prefill = yaml.safe_load(files["mooncake-prefill-0.yaml"].text)
    assert prefill["remote_url"] == "mooncakestore://10.0.0.2:50051/"
    assert prefill["local_cpu"] is False
    assert prefill["extra_config"] == {
        "local_hostname": "10.0.0.1",
        "metadata_server": "http://10.0.0.2:8080/metadata",
        "protocol": "rdma",
        "device_name": "mlx5_0",
        "master_server_address": "10.0.0.2:50051",
        "global_segment_size": 3 << 29,
        "local_buffer_size": 1 << 30,
        "transfer_timeout": 1,
        "save_chunk_meta": False,
    }
    assert files["mooncake-decode-0.yaml"].node == "10.0.0.2"
    worker = process(made, "decode-0")
    assert worker.env["LMCACHE_CONFIG_FILE"] == "mooncake-decode-0.yaml"
    assert kv(worker)["kv_connector_extra_config"] == {
        "discard_partial_chunks": False,
        "lmcache_rpc_port": "consumer1",
    }
    router = process(made, "router")
    assert (router.role, router.argv) == (Role.PROXY, ("python3", "proxy_server.py"))
    assert files["proxy_server.py"].program


def test_lmcache_goes_with_mooncake_alone() -> None:
    with pytest.raises(ConfigError, match=r"^transport"):
        planned(**PAIR, transport="nixl", store={"kind": "lmcache"})
    with pytest.raises(ConfigError, match=r"^router\.kind"):
        planned(**PAIR, store={"kind": "lmcache"}, router={"kind": "vllm-router"})
