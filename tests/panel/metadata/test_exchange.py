from __future__ import annotations

import socket

import pytest
from metadata_servers import Rough, answering, dripping, http_answer
from pd_http import free_port
from pdpanel.panel.metadata.address import Endpoint
from pdpanel.panel.metadata.exchange import (
    Answer,
    ExchangeError,
    Failure,
    answers_on_loopback,
    connect,
    exchange,
)


def ask(endpoint: Endpoint, *, seconds: float = 10.0, most_bytes: int = 1000, tls: bool = False) -> Answer:
    return exchange(endpoint, "GET", "/x?key=a%2Fb", seconds=seconds, most_bytes=most_bytes, tls=tls)


def failure(endpoint: Endpoint, *, seconds: float = 10.0, tls: bool = False) -> ExchangeError:
    with pytest.raises(ExchangeError) as caught:
        ask(endpoint, seconds=seconds, tls=tls)
    return caught.value


def test_an_answer_is_handed_on_whatever_its_status(rough: Rough) -> None:
    server = rough(answering(http_answer("418 I'm a teapot", b"short and stout", "Content-Type: text/plain")))
    assert ask(server) == Answer(418, b"short and stout", "text/plain")


def test_a_chunked_answer_is_put_together(rough: Rough) -> None:
    text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert ask(rough(answering(text))).body == b"abcde"


def test_the_request_goes_out_as_told_and_past_every_proxy(rough: Rough, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    heard: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        heard.append(connection.recv(65536))
        connection.sendall(http_answer("200 OK"))

    server = rough(talk)
    assert ask(server).status == 200
    assert heard[0].startswith(b"GET /x?key=a%2Fb HTTP/1.1\r\n")
    assert f"Host: {server}\r\n".encode() in heard[0]


def test_a_redirect_is_an_answer_and_is_not_followed(rough: Rough) -> None:
    visits: list[bytes] = []
    elsewhere = rough(lambda connection: visits.append(connection.recv(100)))
    server = rough(answering(http_answer("302 Found", b"", f"Location: http://{elsewhere}/secret")))
    answer = ask(server)
    assert (answer.status, answer.location) == (302, f"http://{elsewhere}/secret")
    assert visits == []


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n384\r\n",
    ],
    ids=["status line", "header", "body", "body without length", "chunk"],
)
def test_a_server_that_drips_is_cut_off_in_time(rough: Rough, start: bytes) -> None:
    # Each byte comes long before the timeout of a read; only the sum of them is too slow.
    found = failure(rough(dripping(start)), seconds=0.5)
    assert found.failure is Failure.TIMEOUT
    assert "within 0.5 s" in str(found)


def test_a_server_that_says_nothing_is_cut_off_in_time(rough: Rough) -> None:
    def talk(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    assert failure(rough(talk), seconds=0.3).failure is Failure.TIMEOUT


def test_tls_is_cut_off_in_time_too(rough: Rough) -> None:
    def talk(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    assert failure(rough(talk), seconds=0.3, tls=True).failure is Failure.TIMEOUT


def test_plain_http_where_tls_is_wanted_is_broken(rough: Rough) -> None:
    found = failure(rough(answering(http_answer("200 OK"))), tls=True)
    assert found.failure is Failure.BROKEN


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 1001\r\n\r\n", b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n"],
    ids=["said", "unsaid", "chunked"],
)
def test_too_large_an_answer_is_not_read_to_its_end(rough: Rough, head: bytes) -> None:
    found = failure(rough(answering(b"HTTP/1.1 200 OK\r\n" + head + b"x" * 1001)))
    assert found.failure is Failure.TOO_LARGE


def test_an_answer_of_the_allowed_size_is_read(rough: Rough) -> None:
    assert len(ask(rough(answering(http_answer("200 OK", b"x" * 1000)))).body) == 1000


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x00\x00\x00\x08",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a" * 70000,
    ],
    ids=["nothing", "binary", "ssh", "status", "early end", "chunk", "many headers", "long header"],
)
def test_what_is_no_http_is_broken(rough: Rough, text: bytes) -> None:
    assert failure(rough(answering(text))).failure is Failure.BROKEN


def test_a_closed_port_refuses() -> None:
    assert failure(Endpoint("127.0.0.1", free_port())).failure is Failure.REFUSED


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64])
def test_a_name_that_does_not_resolve_is_said(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        # What the resolver says; asking it would leave this host.
        if len(host) > 63:
            raise UnicodeError("label too long")
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert failure(Endpoint(host, 80)).failure is Failure.UNRESOLVED


def test_a_resolver_that_hangs_does_not_hang_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        release.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        assert failure(Endpoint("slow.example", 80), seconds=0.2).failure is Failure.TIMEOUT
    finally:
        release.set()


def test_a_connection_is_one(rough: Rough) -> None:
    server = rough(lambda connection: connection.sendall(b"hello"))
    with connect(server, 10.0) as connection:
        assert connection.recv(5) == b"hello"


def test_a_server_on_127_0_0_1_alone_is_found_from_another_address_of_the_host(rough: Rough) -> None:
    server = rough(lambda connection: None)
    # 127.0.0.2 is an address of this host, on which this server does not listen.
    assert answers_on_loopback(Endpoint("127.0.0.2", server.port))
    assert not answers_on_loopback(Endpoint("127.0.0.2", free_port()))
    assert not answers_on_loopback(Endpoint("192.0.2.77", server.port))
