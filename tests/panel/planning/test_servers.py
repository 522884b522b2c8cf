from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.launch import Role
from sample_dialect import Placer

TWO = {"prefill": {"count": 1, "hosts": ["a"]}, "decode": {"count": 1, "hosts": ["b"]}}
ADDRESSES = {"a": {"address": "10.0.0.1"}, "b": {"address": "10.0.0.2"}, "c": {"address": "10.0.0.3"}}


def test_etcd_on_one_host_listens_on_loopback(placed: Placer) -> None:
    (server,) = placed(metadata={"server": "127.0.0.1:2379", "start": True}).servers
    assert (server.name, server.role, server.kind, server.node) == ("metadata", Role.METADATA, "etcd", "")
    assert (server.listen, server.address, dict(server.ports)) == (
        "127.0.0.1",
        "127.0.0.1",
        {"client": 2379, "peer": 2380},
    )


def test_a_server_runs_on_the_host_of_its_address(placed: Placer) -> None:
    (server,) = placed(metadata={"server": "etcd://10.0.0.2:2379", "start": True}, hosts=ADDRESSES, **TWO).servers
    assert (server.node, server.listen, server.address) == ("b", "0.0.0.0", "10.0.0.2")
    (named,) = placed(metadata={"server": "http://b:8080/metadata", "start": True}, **TWO).servers
    assert (named.node, named.kind, dict(named.ports)) == ("b", "http", {"http": 8080})
    made = placed(metadata={"server": "redis://10.0.0.9:6379", "start": True}, hosts=ADDRESSES, **TWO)
    assert (made.servers[0].node, dict(made.servers[0].ports)) == ("10.0.0.9", {"client": 6379})
    assert made.addresses["10.0.0.9"] == "10.0.0.9"
    (moved,) = placed(metadata={"server": "etcd://vip:2379", "start": True, "node": "a"}, **TWO).servers
    assert (moved.node, moved.address) == ("a", "a")


def test_a_cluster_has_a_member_on_each_host_with_one_peer_port(placed: Placer) -> None:
    server = "etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379"
    made = placed(
        metadata={"server": server, "start": True}, hosts=ADDRESSES, router={"node": "a", "port": 2380}, **TWO
    )
    assert [(each.name, each.node) for each in made.servers] == [
        ("metadata-0", "a"),
        ("metadata-1", "b"),
        ("metadata-2", "c"),
    ]
    assert {each.ports["peer"] for each in made.servers} == {2381}
    with pytest.raises(ConfigError, match="different ports"):
        placed(metadata={"server": "etcd://10.0.0.1:2379,10.0.0.2:2380", "start": True}, hosts=ADDRESSES, **TWO)


def test_a_master_has_ports_for_metrics_and_metadata(placed: Placer) -> None:
    (server,) = placed(store={}).servers
    assert (server.name, server.role, server.kind) == ("store", Role.STORE, "master")
    assert dict(server.ports) == {"rpc": 50051, "metrics": 9003, "http": 8080}
    made = placed(store={"metadata": "http://127.0.0.1:8999/metadata"}, prefill={"count": 2})
    assert made.servers[0].ports["http"] == 8999
    assert [worker.bootstrap_port for worker in made.of_role(Role.PREFILL)] == [8998, 9000]


def test_servers_that_are_not_started_have_no_process(placed: Placer) -> None:
    assert placed(metadata={"server": "etcd://10.9.9.9:2379"}, store={"start": False}).servers == ()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"metadata": {"server": "P2PHANDSHAKE", "start": True}}, "metadata.start"),
        ({"metadata": {"server": "https://a:1/metadata", "start": True}}, "metadata.start"),
        ({"metadata": {"server": "etcd://127.0.0.1:2379", "start": True}, **TWO}, "metadata.server"),
        ({"store": {}, **TWO}, "store.master"),
        ({"store": {"master": "nowhere"}}, "store.master"),
        ({"metadata": {"server": "etcd://a:2379,b:2379", "start": True, "node": "a"}, **TWO}, "metadata.node"),
    ],
)
def test_addresses_that_lead_nowhere_are_refused(placed: Placer, fields: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        placed(**fields)
    assert caught.value.field == field
    assert caught.value.remedy
