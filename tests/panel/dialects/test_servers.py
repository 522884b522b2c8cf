from __future__ import annotations

from dataclasses import replace

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.dialects.placement import PlacedServer, Placement
from pdpanel.panel.dialects.servers import MasterForm, server_process, server_processes
from pdpanel.panel.launch import Role

ETCD = PlacedServer("etcd-0", Role.METADATA, "etcd", "127.0.0.1", {"client": 2379, "peer": 2380})
HTTP = PlacedServer("metadata-0", Role.METADATA, "http", "127.0.0.1", {"http": 8080})
REDIS = PlacedServer("redis-0", Role.METADATA, "redis", "127.0.0.1", {"client": 6379})
MASTER = PlacedServer("master-0", Role.STORE, "master", "127.0.0.1", {"rpc": 50051})


def placed(*servers: PlacedServer, **fields: object) -> Placement:
    wanted: dict[str, object] = {"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}, **fields}
    return Placement(
        deployment=parse_deployment(wanted), local_name="here", python="python3", workers=(), router=None,
        servers=servers,
    )  # fmt: skip


def test_etcd_on_loopback_is_bound_there() -> None:
    spec = server_process(placed(ETCD), ETCD)
    assert spec.argv == (
        *("etcd", "--listen-client-urls", "http://127.0.0.1:2379"),
        *("--advertise-client-urls", "http://127.0.0.1:2379"),
    )
    assert (spec.name, spec.role, spec.node, spec.log) == ("etcd-0", Role.METADATA, "here", "etcd-0.log")
    assert spec.ready.url == "http://127.0.0.1:2379/health"
    assert spec.ports == {"client": 2379, "peer": 2380}


@pytest.mark.parametrize("listen", ["0.0.0.0", "::", "10.0.0.9", "node9"])
def test_etcd_for_other_nodes_is_started_as_its_document_does(listen: str) -> None:
    server = replace(ETCD, listen=listen, node="node9", address="10.0.0.9")
    spec = server_process(placed(server), server)
    assert spec.argv[1:] == (
        *("--listen-client-urls", "http://0.0.0.0:2379", "--advertise-client-urls", "http://localhost:2379"),
    )
    assert spec.node == "node9"


def test_several_etcds_are_one_cluster() -> None:
    members = [replace(ETCD, name=f"etcd-{i}", listen="0.0.0.0", node=f"n{i}", address=f"10.0.0.{i}") for i in range(3)]
    specs = server_processes(placed(*members))
    assert [spec.argv[spec.argv.index("--name") + 1] for spec in specs] == ["node0", "node1", "node2"]
    clusters = {spec.argv[spec.argv.index("--initial-cluster") + 1] for spec in specs}
    assert clusters == {"node0=http://10.0.0.0:2380,node1=http://10.0.0.1:2380,node2=http://10.0.0.2:2380"}
    with pytest.raises(ConfigError, match="three"):
        server_processes(placed(*members[:2]))


def test_the_http_metadata_server_and_redis_bind_loopback() -> None:
    spec = server_process(placed(HTTP), HTTP)
    assert spec.argv[1:] == ("-m", "mooncake.http_metadata_server", "--host", "127.0.0.1", "--port", "8080")
    assert spec.ready.url == ""
    spec = server_process(placed(REDIS), REDIS)
    assert spec.argv == ("redis-server", "--bind", "127.0.0.1", "--port", "6379", "--protected-mode", "yes")
    spec = server_process(placed(REDIS), replace(REDIS, listen="0.0.0.0", ports={"client": 7000}))
    assert spec.argv[1:] == ("--bind", "0.0.0.0", "--port", "7000", "--protected-mode", "no")


def test_the_master_without_wishes_is_its_bare_name() -> None:
    spec = server_process(placed(MASTER), MASTER)
    assert spec.argv == ("mooncake_master",)
    assert spec.role is Role.STORE
    assert spec.ready.url == "http://127.0.0.1:9003/health"


def test_a_master_on_other_ports_says_so_in_its_own_form() -> None:
    server = replace(MASTER, ports={"rpc": 50061, "metrics": 9004})
    spec = server_process(placed(server), server)
    assert spec.argv == ("mooncake_master", "--rpc_port=50061", "--metrics_port=9004")
    assert spec.ready.url == "http://127.0.0.1:9004/health"
    spec = server_process(placed(server), server, MasterForm(port_flag="port", joined=False))
    assert spec.argv == ("mooncake_master", "--port", "50061", "--metrics_port", "9004")


def test_the_forms_of_two_documents() -> None:
    form = MasterForm(port_flag="port", joined=False, port_always=True)
    assert server_process(placed(MASTER), MASTER, form).argv == ("mooncake_master", "--port", "50051")
    form = MasterForm(serves_metadata=True, defaults={"eviction_high_watermark_ratio": 0.95})
    spec = server_process(placed(MASTER), MASTER, form)
    assert spec.argv[1:] == (
        *("--enable_http_metadata_server=true", "--http_metadata_server_port=8080"),
        "--eviction_high_watermark_ratio=0.95",
    )
    assert spec.ports == {"rpc": 50051, "metrics": 9003, "http": 8080}


def test_a_persons_flags_of_the_master_go_first() -> None:
    store = {"flags": {"eviction-high-watermark-ratio": 0.8, "enable-ha": False}}
    made = placed(MASTER, engine="sglang", store=store)
    form = MasterForm(joined=False, defaults={"eviction_high_watermark_ratio": 0.95, "client_ttl": 5})
    assert server_process(made, MASTER, form).argv[1:] == (
        *("--client_ttl", "5", "--eviction_high_watermark_ratio", "0.8", "--enable_ha=false"),
    )


def test_a_persons_port_of_metrics_is_where_the_master_is_asked() -> None:
    made = placed(MASTER, engine="sglang", store={"flags": {"metrics-port": 9100}})
    spec = server_process(made, MASTER)
    assert (spec.ready.url, spec.ports["metrics"]) == ("http://127.0.0.1:9100/health", 9100)


def test_an_unknown_server_is_refused() -> None:
    with pytest.raises(ConfigError, match="no server"):
        server_process(placed(), replace(ETCD, kind="zookeeper"))
