"""Rules on Mooncake's configs, by the integration that reads them, and the config as it would be right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pdpanel.nic_probe.finding import Severity
from pdpanel.panel.lint.lint import lint_text
from pdpanel.panel.lint.mooncake_config import check_mooncake_config
from pdpanel.panel.lint.mooncake_keys import ConfigDialect, mooncake_dialects

SGLANG: dict[str, Any] = {
    "local_hostname": "192.168.0.137",
    "metadata_server": "http://192.168.0.137:8998/metadata",
    "protocol": "rdma",
    "device_name": "erdma_0,erdma_1",
}
V0: dict[str, Any] = {
    "prefill_url": "192.168.0.137:13003",
    "decode_url": "192.168.0.139:13003",
    "metadata_server": "192.168.0.139:2379",
    "metadata_backend": "etcd",
    "protocol": "rdma",
    "device_name": "erdma_0",
}
STORE: dict[str, Any] = {
    "mode": "embedded",
    "metadata_server": "P2PHANDSHAKE",
    "master_server_address": "127.0.0.1:50051",
    "global_segment_size": "80GB",
    "local_buffer_size": "4GB",
    "protocol": "rdma",
    "device_name": "",
    "enable_offload": False,
}
HICACHE: dict[str, Any] = {
    "local_hostname": "localhost",
    "metadata_server": "http://127.0.0.1:8080/metadata",
    "master_server_address": "127.0.0.1:50051",
    "protocol": "rdma",
    "device_name": "",
    "global_segment_size": "4gb",
}


@pytest.mark.parametrize("config", [SGLANG, V0, STORE, HICACHE])
def test_the_documents_own_configs_are_fine(config: dict[str, Any]) -> None:
    report = lint_text(json.dumps(config))
    assert (report.kind, report.findings, report.corrected) == ("mooncake-config", (), None)


@pytest.mark.parametrize(
    ("config", "change", "rule", "right"),
    [
        (SGLANG, {"device_name": "mlx5_0, mlx5_1"}, "mooncake-device-name", {"device_name": "mlx5_0,mlx5_1"}),
        (SGLANG, {"device_name": ["a", "b"]}, "mooncake-device-name", {"device_name": "a,b"}),
        (SGLANG, {"device_name": ""}, "mooncake-device-name", {}),
        (V0, {"device_name": None}, "mooncake-device-name", {}),
        (SGLANG, {"protocol": "tcp"}, "mooncake-device-name", {"device_name": ""}),
        (SGLANG, {"protocol": "rmda"}, "mooncake-protocol", {"protocol": "rdma"}),
        (SGLANG, {"protocl": "rdma", "protocol": None}, "mooncake-config-key", {}),
        (SGLANG, {"surplus_and_unknown": 1}, "mooncake-config-key", {}),
        (SGLANG, {"local_hostname": "127.0.0.1"}, "mooncake-local-hostname", {}),
        (
            SGLANG,
            {"metadata_server": "http://a:8998"},
            "mooncake-metadata-server",
            {"metadata_server": "http://a:8998/metadata"},
        ),
        (
            SGLANG,
            {"metadata_server": "etdc://a:2379"},
            "mooncake-metadata-server",
            {"metadata_server": "etcd://a:2379"},
        ),
        (SGLANG, {"metadata_server": 5}, "mooncake-metadata-server", {}),
        (V0, {"metadata_server": "etcd://a:2379"}, "mooncake-metadata-server", {"metadata_backend": None}),
        (V0, {"metadata_server": "redis://a:6379"}, "mooncake-metadata-server", {"metadata_backend": None}),
        (V0, {"metadata_backend": "ectd"}, "mooncake-metadata-server", {"metadata_backend": "etcd"}),
        (V0, {"decode_url": "192.168.0.137:13020"}, "mooncake-url-ports", {"decode_url": "192.168.0.137:13103"}),
        (V0, {"decode_url": "192.168.0.137:13003"}, "mooncake-url-ports", {}),
        (V0, {"decode_url": "http://192.168.0.139:13003"}, "mooncake-url-ports", {"decode_url": "192.168.0.139:13003"}),
        (V0, {"decode_url": "nothing"}, "mooncake-url-ports", {}),
        (STORE, {"global_segment_size": 0}, "mooncake-segment-size", {}),
        (STORE, {"mode": "standalone-store"}, "mooncake-segment-size", {"global_segment_size": 0}),
        (STORE, {"mode": "standalone_store"}, "mooncake-segment-size", {"mode": "standalone-store"}),
        (STORE, {"local_buffer_size": 0}, "mooncake-segment-size", {}),
        (STORE, {"global_segment_size": "much"}, "mooncake-segment-size", {}),
        (STORE, {"master_server_address": ""}, "mooncake-config-key", {}),
    ],
)
def test_what_is_wrong_is_told_and_put_right(
    config: dict[str, Any], change: dict[str, Any], rule: str, right: dict[str, Any]
) -> None:
    wrong = {key: value for key, value in {**config, **change}.items() if value is not None}
    findings, corrected = check_mooncake_config(wrong, "m.json")
    assert rule in {finding.id for finding in findings}
    for key, value in right.items():
        assert corrected.get(key) == value


def test_equal_urls_show_the_port_that_is_taken() -> None:
    findings, right = check_mooncake_config({**V0, "decode_url": V0["prefill_url"]}, "m.json")
    (finding,) = findings
    assert (finding.severity, finding.corrected) == (Severity.INFO, "192.168.0.137:13103")
    assert right["decode_url"] == V0["prefill_url"]


def test_a_mistyped_key_is_the_nearest_known_one() -> None:
    wrong = {("protocl" if key == "protocol" else key): value for key, value in SGLANG.items()}
    findings, right = check_mooncake_config(wrong, "m.json")
    assert [finding.corrected for finding in findings] == ["protocol"]
    assert right == SGLANG
    assert list(right) == list(SGLANG)


def test_loopback_is_wrong_where_several_hosts_are_known() -> None:
    config = {**HICACHE}
    assert check_mooncake_config(config, "m.json")[0] == ()
    (finding,) = check_mooncake_config(config, "m.json", several_nodes=True)[0]
    assert finding.id == "mooncake-local-hostname"


@pytest.mark.parametrize(
    ("config", "dialect"),
    [
        (SGLANG, ConfigDialect.SGLANG_PD),
        (V0, ConfigDialect.VLLM_V0),
        (STORE, ConfigDialect.VLLM_STORE),
        ({"check_server": True, **HICACHE}, ConfigDialect.HICACHE),
        ({"client_http_port": 9300, **HICACHE}, ConfigDialect.MOONCAKE),
    ],
)
def test_the_integration_is_told_by_its_keys(config: dict[str, Any], dialect: ConfigDialect) -> None:
    assert mooncake_dialects(config) == (dialect,)


def test_a_config_inside_a_script_is_judged_there() -> None:
    config = json.dumps({**SGLANG, "device_name": "a, b"}, indent=2)
    script = f"cat > mooncake.json <<EOF\n{config}\nEOF\nvllm serve m\n"
    report = lint_text(script)
    assert "mooncake-device-name" in {finding.id for finding in report.findings}
    assert report.corrected == script.replace("a, b", "a,b")
