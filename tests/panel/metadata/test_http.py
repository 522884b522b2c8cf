"""The wheel's HTTP metadata server, and servers that are none."""

from __future__ import annotations

import socket

import pytest
from metadata_servers import RealHttp, Rough, Started, answering, dripping, http_answer
from pd_http import free_port
from pdpanel.panel.metadata import http as http_module
from pdpanel.panel.metadata.address import Endpoint, MetadataServer, Scheme, parse_metadata_server
from pdpanel.panel.metadata.http import check_http, read_http, remove_from_http
from pdpanel.panel.metadata.segment import segments_of
from pdpanel.panel.metadata.state import Reach


def at(endpoint: Endpoint, path: str = "/metadata") -> MetadataServer:
    return MetadataServer(Scheme.HTTP, (endpoint,), path)


def test_a_metadata_server_is_known_by_its_refusals(http_server: RealHttp) -> None:
    server = parse_metadata_server(http_server.url)
    assert check_http(server).reach is Reach.ANSWERS
    state = check_http(at(server.endpoints[0], "/meta"))
    assert state.reach is Reach.FOREIGN and "404 to none" in state.detail


def test_named_segments_are_read_and_removed(http_server: RealHttp) -> None:
    server = parse_metadata_server(http_server.url)
    for name in ("a:1", "ab:1"):
        http_server.register(name, 15000)
    entries = read_http(server, ["a:1", "a:1", "none:1"]).otherwise(())
    (segment,) = segments_of(entries)
    assert (segment.label, segment.rpc_port, segment.devices[0].name) == ("a:1", 15000, "mlx5_0")
    assert [removal.kept for removal in remove_from_http(server, entries)] == ["", ""]
    assert read_http(server, ["a:1"]).value == ()
    assert len(read_http(server, ["ab:1"]).otherwise(())) == 2


@pytest.mark.parametrize("name", ["x/a:1", "a b", "ümlaut", "a&key=b", "a+b", "%2e", "\x1b[2J", "[fd00::1]:1"])
def test_any_name_reaches_the_server_as_it_stands(http_server: RealHttp, name: str) -> None:
    server = parse_metadata_server(http_server.url)
    cluster, slash, last = name.rpartition("/")
    http_server.ask("PUT", f"mooncake/{cluster}{slash}ram/{last}", b"{}")
    (entry,) = read_http(server, [name]).otherwise(())
    assert remove_from_http(server, [entry])[0].kept == ""
    assert read_http(server, [name]).value == ()


def test_an_entry_that_was_written_since_stays(http_server: RealHttp) -> None:
    server = parse_metadata_server(http_server.url)
    http_server.ask("PUT", "mooncake/ram/a", b"{}")
    read = read_http(server, ["a"]).otherwise(())
    http_server.ask("PUT", "mooncake/ram/a", b'{"new": 1}')
    assert remove_from_http(server, read)[0].kept == "changed since it was read"
    assert http_server.ask("GET", "mooncake/ram/a")[1] == b'{"new": 1}'


def test_an_entry_that_its_engine_removed_is_gone(http_server: RealHttp) -> None:
    server = parse_metadata_server(http_server.url)
    http_server.ask("PUT", "mooncake/ram/a", b"{}")
    read = read_http(server, ["a"]).otherwise(())
    http_server.ask("DELETE", "mooncake/ram/a")
    assert remove_from_http(server, read)[0].kept == ""


def test_a_huge_entry_is_named_and_not_read(http_server: RealHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "_MOST_BYTES", 1000)
    server = parse_metadata_server(http_server.url)
    http_server.ask("PUT", "mooncake/ram/a", b"x" * 1001)
    (entry,) = read_http(server, ["a"]).otherwise(())
    assert entry.value is None and "more than 1000 bytes" in entry.problem
    assert remove_from_http(server, [entry])[0].kept == ""


@pytest.mark.parametrize(
    "text",
    [
        http_answer("200 OK", b"<html>"),
        http_answer("404 Not Found"),
        http_answer("400 Bad Request"),
        http_answer("503 Busy"),
        http_answer("301 Moved", b"", "Location: http://127.0.0.1:1/metadata"),
        b"",
        b"+PONG\r\n",
    ],
    ids=["page", "nothing found", "refuses all", "busy", "redirect", "silent", "redis"],
)
def test_a_server_that_keeps_no_metadata_is_something_else(rough: Rough, text: bytes) -> None:
    assert check_http(at(rough(answering(text)))).reach is Reach.FOREIGN


def test_a_redirect_is_named_and_not_followed(rough: Rough) -> None:
    visits: list[bytes] = []
    other = rough(lambda connection: visits.append(connection.recv(100)))
    state = check_http(at(rough(answering(http_answer("302 Found", b"", f"Location: http://{other}/")))))
    assert f"http://{other}/" in state.detail
    assert visits == []


def test_nothing_there_is_unreachable() -> None:
    server = at(Endpoint("127.0.0.1", free_port()))
    assert (check_http(server).reach, check_http(server).detail) == (Reach.UNREACHABLE, "refuses connections")
    assert read_http(server, ["a"]).reason == "refuses connections"


def test_a_server_on_127_0_0_1_is_found_from_another_address(http_server: RealHttp) -> None:
    port = parse_metadata_server(http_server.url).endpoints[0].port
    assert check_http(at(Endpoint("127.0.0.2", port))).on_loopback


def test_a_slow_server_ends_by_the_timeout(rough: Rough, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "_SECONDS", 0.3)
    server = at(rough(dripping(b"HTTP/1.1 404 Not Found\r\n")))
    assert check_http(server).reach is Reach.UNREACHABLE
    assert "within 0.3 s" in read_http(server, ["a"]).reason


def test_a_server_that_breaks_off_keeps_what_was_read(rough: Rough) -> None:
    asked: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(http_answer("200 OK", b"{}") if len(asked) == 1 else http_answer("500 Oops"))

    found = read_http(at(rough(talk)), ["a"])
    assert [entry.key for entry in found.otherwise(())] == ["mooncake/ram/a"]
    assert "answers 500" in found.reason


def test_the_masters_server_compares_keys_as_mooncake_quotes_them(started: Started) -> None:
    """The metadata server inside mooncake_master does not decode keys, so that another quoting finds nothing."""
    import shutil
    import sys
    from pathlib import Path

    from pdpanel.panel.metadata.server_commands import ReadyCheck, ServerCommand

    program = shutil.which("mooncake_master", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("Mooncake's master is not installed")
    port, ready = free_port(), "http://127.0.0.1:{}/health"
    server = parse_metadata_server(f"http://127.0.0.1:{port}/metadata")
    options = (f"--http_metadata_server_port={port}", f"--rpc_port={free_port()}", f"--metrics_port={free_port()}")
    argv = (program, "--enable_http_metadata_server=true", *options)
    started.server(ServerCommand(argv, "127.0.0.1", {}, ReadyCheck(ready.format(port), 200, "OK"), server))
    RealHttp(server.url).register("a:1", 15000)
    assert check_http(server).reach is Reach.ANSWERS
    entries = read_http(server, ["a:1"]).otherwise(())
    assert segments_of(entries)[0].rpc_port == 15000
    assert [removal.kept for removal in remove_from_http(server, entries)] == ["", ""]
