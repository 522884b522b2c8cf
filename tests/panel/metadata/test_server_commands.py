from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.metadata.server_commands import (
    ReadyCheck,
    etcd_cluster_commands,
    etcd_command,
    http_server_command,
)

A, B = "10.0.0.1", "10.0.0.2"


def test_on_one_host_etcd_binds_loopback() -> None:
    command = etcd_command()
    listen, advertise = "http://127.0.0.1:2379", "http://127.0.0.1:2379"
    assert command.argv == ("etcd", "--listen-client-urls", listen, "--advertise-client-urls", advertise)
    assert str(command.server) == "etcd://127.0.0.1:2379"
    assert command.ready == ReadyCheck("http://127.0.0.1:2379/health", 200, '"true"')
    assert command.ports == {"client": 2379, "peer": 2380}


def test_the_seeds_command_for_several_hosts() -> None:
    command = etcd_command("192.168.0.139", advertise="localhost")
    line = "etcd --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://localhost:2379"
    assert " ".join(command.argv) == line
    assert str(command.server) == "etcd://192.168.0.139:2379"
    assert command.ready.url == "http://127.0.0.1:2379/health"
    assert command.host == "192.168.0.139"


def test_without_another_word_etcd_advertises_the_host() -> None:
    assert etcd_command("node-a").argv[-1] == "http://node-a:2379"
    assert etcd_command("fd00::1").argv[-1] == "http://[fd00::1]:2379"


def test_a_name_for_loopback_is_bound_as_an_address() -> None:
    command = etcd_command("localhost")
    assert command.argv[2] == "http://127.0.0.1:2379"
    assert str(command.server) == "etcd://localhost:2379"


def test_other_ports_and_a_folder() -> None:
    argv = etcd_command(client_port=3379, peer_port=3380, data_dir="-d").argv
    peers = "http://127.0.0.1:3380"
    assert argv[5:] == (
        "--listen-peer-urls",
        peers,
        "--initial-advertise-peer-urls",
        peers,
        "--initial-cluster",
        f"default={peers}",
        "--data-dir=-d",
    )


def test_a_cluster_has_one_member_per_host() -> None:
    commands = etcd_cluster_commands(["10.0.0.1", "10.0.0.2", "10.0.0.3"], data_dir="etcd")
    assert [command.host for command in commands] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    members = "node0=http://10.0.0.1:2380,node1=http://10.0.0.2:2380,node2=http://10.0.0.3:2380"
    assert all(members in command.argv and "etcd-cluster-1" in command.argv for command in commands)
    assert str(commands[0].server) == "etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379"
    assert commands[2].ready.url == "http://10.0.0.3:2379/health"


@pytest.mark.parametrize("hosts", [[A], [A, B], [A, B, B], [A, B, "c"], [A, B, ""]])
def test_what_is_no_cluster_is_refused(hosts: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^metadata hosts = "):
        etcd_cluster_commands(hosts)


def test_mooncakes_server_never_binds_everything_by_itself() -> None:
    command = http_server_command(python="/venv/bin/python")
    start = ("/venv/bin/python", "-m", "mooncake.http_metadata_server")
    assert command.argv == (*start, "--host", "127.0.0.1", "--port", "8080")
    assert str(command.server) == "http://127.0.0.1:8080/metadata"
    assert command.ready == ReadyCheck("http://127.0.0.1:8080/metadata", 400, "key")


def test_mooncakes_server_for_several_hosts_by_its_program() -> None:
    command = http_server_command("10.0.0.1", port=8998, program="mooncake_http_metadata_server")
    assert command.argv == ("mooncake_http_metadata_server", "--host", "0.0.0.0", "--port", "8998")
    assert str(command.server) == "http://10.0.0.1:8998/metadata"


@pytest.mark.parametrize("host", ["", "a b", "-x", "$(id)", "a\nb", "0.0.0.0", "10.0.0.999", "a/b"])
def test_hosts_that_are_none_are_refused(host: str) -> None:
    for command in (etcd_command, http_server_command):
        with pytest.raises(ConfigError, match=r"^metadata host = "):
            command(host)


@pytest.mark.parametrize(("client", "peer"), [(0, 2380), (-1, 2380), (2379, 65536), (2380, 2380)])
def test_ports_that_are_none_are_refused(client: int, peer: int) -> None:
    with pytest.raises(ConfigError, match="port"):
        etcd_command(client_port=client, peer_port=peer)
