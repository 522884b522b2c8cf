from __future__ import annotations

import json

import pytest
from pdpanel.engine.errors import ConfigError

from .vllm_plans import PAIR, option, planned, process


def test_encoders_push_to_unified_workers() -> None:
    made = planned(encoder={"count": 2}, unified={"count": 1}, router={"port": 10002})
    assert [spec.name for spec in made.processes] == ["unified-0", "encoder-0", "encoder-1", "router"]
    encoder, worker = process(made, "encoder-0"), process(made, "unified-0")
    assert option(encoder, "ec-transfer-config") == (
        '{"ec_connector":"ECMooncakeConnector","ec_role":"ec_producer",'
        '"ec_connector_extra_config":{"mooncake_protocol":"rdma"}}'
    )
    assert json.loads(option(worker, "ec-transfer-config") or "") == {
        "ec_connector": "ECMooncakeConnector",
        "ec_role": "ec_consumer",
        "ec_ip": "127.0.0.1",
        "ec_port": 14579,
        "ec_connector_extra_config": {"mooncake_protocol": "rdma"},
    }
    assert "--enable-mm-embeds" in worker.argv
    assert "--enable-mm-embeds" not in encoder.argv
    assert {"--enable-request-id-headers", "--no-enable-prefix-caching"} <= set(encoder.argv) & set(worker.argv)
    assert option(worker, "kv-transfer-config") is None
    assert process(made, "router").argv[1:] == (
        *("examples/disaggregated/disaggregated_encoder/disagg_epd_proxy.py", "--host", "127.0.0.1"),
        *("--port", "10002", "--encode-servers-urls", "http://127.0.0.1:8300,http://127.0.0.1:8301"),
        *("--prefill-servers-urls", "disable", "--decode-servers-urls", "http://127.0.0.1:8100"),
        *("--ec-consumer-zmq-addrs", "tcp://127.0.0.1:14579"),
    )
    (request,) = made.requests
    assert request.argv[2] == "http://localhost:10002/v1/chat/completions"


def test_tcp_is_said_to_both_sides() -> None:
    made = planned(encoder={"count": 1}, unified={"count": 1}, transport="mooncake_tcp")
    for name in ("encoder-0", "unified-0"):
        text = option(process(made, name), "ec-transfer-config") or ""
        assert json.loads(text)["ec_connector_extra_config"] == {"mooncake_protocol": "tcp"}
        assert process(made, name).env["MC_FORCE_TCP"] == "1"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({**PAIR, "encoder": {"count": 1}}, r"encoder\.count.*unified"),
        ({"unified": {"count": 1}, "encoder": {"count": 1, "tp": 2}}, r"encoder\.tp"),
        ({"unified": {"count": 1}, "encoder": {"count": 1}, "transport": "nixl"}, "transport"),
        ({"unified": {"count": 1}, "encoder": {"count": 1}, "store": {}}, "store"),
        ({"unified": {"count": 1}, "encoder": {"count": 1}, "engine_version": "0.28.0"}, "ECMooncakeConnector.*0.30"),
        ({"unified": {"count": 1}, "encoder": {"count": 1}, "router": {"kind": "vllm-router"}}, r"router\.kind"),
    ],
)
def test_what_encoders_cannot_stand_beside(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        planned(**fields)


def test_ranks_of_two_workers_never_share_a_port() -> None:
    with pytest.raises(ConfigError, match=r"unified\.count.*unified\.hosts"):
        planned(unified={"count": 2, "tp": 2}, encoder={"count": 1})
    apart = planned(unified={"count": 2, "tp": 2, "hosts": ["a", "b"]}, encoder={"count": 1, "hosts": ["c"]})
    assert process(apart, "unified-1").ports["ec"] == 14579
