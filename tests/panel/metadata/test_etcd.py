"""A real etcd, and servers that only look like one."""

from __future__ import annotations

import base64
import json
import socket
from dataclasses import replace

import pytest
from etcd3gw.exceptions import Etcd3Exception
from metadata_servers import REGISTERED, RealEtcd, Rough, Started, answering, dripping, end, http_answer, wait_for
from pd_http import free_port
from pdpanel.panel.metadata import etcd as etcd_module
from pdpanel.panel.metadata.address import Endpoint, parse_metadata_server
from pdpanel.panel.metadata.etcd import check_etcd, list_etcd, remove_from_etcd
from pdpanel.panel.metadata.segment import Entry
from pdpanel.panel.metadata.server_commands import etcd_cluster_commands, etcd_command
from pdpanel.panel.metadata.state import Reach, Removal
from pdpanel.panel.metadata.survey import survey

VERSION = http_answer("200 OK", b'{"etcdserver":"3.5.0","etcdcluster":"3.5.0"}', "Content-Type: application/json")


def test_an_etcd_tells_its_version_and_health(etcd: RealEtcd) -> None:
    state = check_etcd(etcd.endpoint)
    assert (state.reach, state.healthy, state.detail) == (Reach.ANSWERS, True, "answers")
    assert state.version.startswith("3.")
    assert state.advertised == (f"http://127.0.0.1:{etcd.port}",)


def test_the_proxies_of_the_environment_are_not_asked(etcd: RealEtcd, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    etcd.put("mooncake/ram/a", {})
    assert check_etcd(etcd.endpoint).reach is Reach.ANSWERS
    assert list_etcd(etcd.endpoint).value


def test_mooncakes_keys_are_listed_and_no_others(etcd: RealEtcd) -> None:
    for key in ("mooncake", "mooncake-store/x", "mooncake0", "other/a", "a"):
        etcd.put(key, "no")
    etcd.put("mooncake/ram/a", REGISTERED)
    etcd.put("mooncake/", "yes")
    found = list_etcd(etcd.endpoint)
    assert [(entry.key, entry.value) for entry in found.value or ()] == [
        ("mooncake/", b"yes"),
        ("mooncake/ram/a", json.dumps(REGISTERED).encode()),
    ]
    assert found.reason == ""
    for key in ("mooncake", "mooncake-store/x", "mooncake0", "other/a", "a"):
        etcd.client.delete(key)


def test_a_list_of_many_pages_is_whole(etcd: RealEtcd) -> None:
    keys = [f"mooncake/ram/{number:03}" for number in range(etcd_module._PAGE_KEYS * 3)]
    for key in keys:
        etcd.put(key, "{}")
    assert [entry.key for entry in list_etcd(etcd.endpoint).otherwise(())] == keys


def test_names_of_any_bytes_are_listed_and_removed(etcd: RealEtcd) -> None:
    names = ["a\x00b", "\x1b[31mred", "line\nbreak", "\u202ergb", "\udcff\udcfe", "ümlaut", "a'\"$(b)"]
    for name in names:
        etcd.put(f"mooncake/ram/{name}", "{}")
    entries = list_etcd(etcd.endpoint).otherwise(())
    assert sorted(entry.key for entry in entries) == sorted(f"mooncake/ram/{name}" for name in names)
    assert all(removal.kept == "" for removal in remove_from_etcd(etcd.endpoint, entries))
    assert etcd.keys() == []


def test_large_values_of_a_page_are_read(etcd: RealEtcd) -> None:
    big = b"x" * (1 << 20)
    for number in range(20):
        etcd.put(f"mooncake/ram/{number:02}", big)
    assert [len(entry.value or b"") for entry in list_etcd(etcd.endpoint).otherwise(())] == [1 << 20] * 20


def test_only_the_named_keys_go(etcd: RealEtcd) -> None:
    for name in ("a", "ab", "b"):
        etcd.put(f"mooncake/ram/{name}", "{}")
    first = list_etcd(etcd.endpoint).otherwise(())[0]
    assert remove_from_etcd(etcd.endpoint, [first]) == (Removal("mooncake/ram/a"),)
    assert etcd.keys() == ["mooncake/ram/ab", "mooncake/ram/b"]


def test_an_entry_that_was_written_since_stays(etcd: RealEtcd) -> None:
    etcd.put("mooncake/ram/a", "old")
    read = list_etcd(etcd.endpoint).otherwise(())
    etcd.put("mooncake/ram/a", "new")
    (removal,) = remove_from_etcd(etcd.endpoint, read)
    assert removal.kept == "changed since it was read"
    assert etcd.client.get("mooncake/ram/a") == [b"new"]


def test_an_etcd_with_accounts_says_that_it_refuses(started: Started) -> None:
    command = started.server(etcd_command(client_port=free_port(), peer_port=free_port(), data_dir="guarded"))
    server = RealEtcd(command.ports["client"])
    client = server.client
    client.post(client.get_url("/auth/user/add"), json={"name": "root", "password": "x"})
    client.post(client.get_url("/auth/user/grant"), json={"user": "root", "role": "root"})
    client.post(client.get_url("/auth/enable"), json={})
    assert check_etcd(server.endpoint).reach is Reach.ANSWERS
    found = list_etcd(server.endpoint)
    assert found.value is None and "user name is empty" in found.reason
    report = survey(parse_metadata_server(server.url), ["a"])
    assert (report.segments.value, report.missing) == (None, ())
    (removal,) = remove_from_etcd(server.endpoint, [Entry("mooncake/ram/a", b"", 1)])
    assert "user name is empty" in removal.kept
    client.session.close()


def test_a_cluster_serves_without_one_member_and_not_without_two(started: Started) -> None:
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    commands = etcd_cluster_commands(hosts, client_port=free_port(), peer_port=free_port())
    started.servers(*commands)
    first, second, third = commands[0].server.endpoints
    assert len(check_etcd(first).advertised) == 3
    end(started.processes[2])
    wait_for(lambda: check_etcd(second).healthy is True)
    assert check_etcd(third).reach is Reach.UNREACHABLE
    end(started.processes[1])
    wait_for(lambda: check_etcd(first).healthy is False)


def test_an_etcd_without_space_is_not_healthy(started: Started) -> None:
    command = etcd_command(client_port=free_port(), peer_port=free_port(), data_dir="small")
    started.server(replace(command, argv=(*command.argv, "--quota-backend-bytes=65536")))
    server = RealEtcd(command.ports["client"])
    with pytest.raises(Etcd3Exception):
        for number in range(8):
            server.put(f"mooncake/ram/{number}", b"x" * 65536)
    state = check_etcd(server.endpoint)
    assert (state.reach, state.healthy, state.version[:2]) == (Reach.ANSWERS, False, "3.")


def test_an_etcd_on_127_0_0_1_is_found_from_another_address(etcd: RealEtcd) -> None:
    state = check_etcd(Endpoint("127.0.0.2", etcd.port))
    assert (state.reach, state.on_loopback) == (Reach.UNREACHABLE, True)


def test_nothing_there_is_unreachable() -> None:
    endpoint = Endpoint("127.0.0.1", free_port())
    state = check_etcd(endpoint)
    assert (state.reach, state.detail, state.on_loopback) == (Reach.UNREACHABLE, "refuses connections", False)
    assert list_etcd(endpoint).reason == "refuses connections"


@pytest.mark.parametrize(
    "text",
    [
        http_answer("404 Not Found", b'{"detail":"Not Found"}', "Content-Type: application/json"),
        http_answer("404 Not Found", b"404 page not found"),
        http_answer("200 OK", b"<html>hello</html>", "Content-Type: text/html"),
        http_answer("200 OK", b"{}"),
        http_answer("200 OK", b"[]"),
        http_answer("200 OK", b'{"etcdserver": 3}'),
        http_answer("200 OK", b'{"etcdserver": "latest"}'),
        http_answer("200 OK", b"[" * 100_000),
        http_answer("500 Oops", b"{}"),
        http_answer("302 Found", b"", "Location: http://127.0.0.1:1/"),
        b"+PONG\r\n",
        b"",
    ],
    ids=["api", "go", "page", "object", "list", "number", "word", "deep", "error", "redirect", "redis", "nothing"],
)
def test_a_server_that_is_no_etcd_is_something_else(rough: Rough, text: bytes) -> None:
    state = check_etcd(rough(answering(text)))
    assert state.reach is Reach.FOREIGN
    assert ("redirect" in state.detail) is (b"302" in text)


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b'{"kvs": 3}', b'{"kvs": [{"key": "!"}]}', b'{"kvs": [{}]}', b"nonsense", b"[" * 50_000]
)
def test_a_lying_etcd_ends_in_a_reason_or_nothing(rough: Rough, body: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        asked = connection.recv(65536)
        connection.sendall(VERSION if b"/version" in asked else http_answer("200 OK", body))

    endpoint = rough(talk)
    assert check_etcd(endpoint).reach is Reach.ANSWERS
    found = list_etcd(endpoint)
    assert found.value in (None, ())
    assert found.value == () or found.reason


def test_an_endless_list_ends(rough: Rough, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_module, "_MOST_KEYS", 40)
    pages = iter(range(10_000))

    def talk(connection: socket.socket) -> None:
        asked = connection.recv(65536)
        if b"/version" in asked:
            connection.sendall(VERSION)
            return
        start = next(pages)
        keys = [base64.b64encode(b"mooncake/%08d" % (start * 100 + one)).decode() for one in range(16)]
        kvs = [{"key": key, "value": "", "mod_revision": "1"} for key in keys]
        connection.sendall(http_answer("200 OK", json.dumps({"kvs": kvs}).encode()))

    found = list_etcd(rough(talk))
    assert len(found.otherwise(())) == 48
    assert "more entries" in found.reason


def test_a_list_that_repeats_itself_ends(rough: Rough) -> None:
    kvs = [{"key": "bW9vbmNha2UvYQ==", "value": "", "mod_revision": "1"}] * 16

    def talk(connection: socket.socket) -> None:
        asked = connection.recv(65536)
        body = json.dumps({"kvs": kvs}).encode()
        connection.sendall(VERSION if b"/version" in asked else http_answer("200 OK", body))

    assert list_etcd(rough(talk)).reason == "lists its keys out of order"


def test_a_slow_server_ends_by_the_timeout(rough: Rough, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_module, "_SECONDS", 0.3)
    endpoint = rough(dripping(b"HTTP/1.1 200 OK\r\n\r\n"))
    state = check_etcd(endpoint)
    assert state.reach is Reach.UNREACHABLE and "within 0.3 s" in state.detail


def test_a_huge_answer_is_cut_off(rough: Rough, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_module, "_MOST_BYTES", 1000)
    state = check_etcd(rough(answering(http_answer("200 OK", b" " * 2000))))
    assert (state.reach, state.detail) == (Reach.FOREIGN, "answers with more than 1000 bytes")
