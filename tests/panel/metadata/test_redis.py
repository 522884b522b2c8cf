"""redis is not among the tests' programs: its end of the protocol is a line of text, sent by a server of the test."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from metadata_servers import Rough
from pd_http import free_port
from pdpanel.panel.metadata import redis
from pdpanel.panel.metadata.address import Endpoint
from pdpanel.panel.metadata.redis import check_redis
from pdpanel.panel.metadata.state import Reach


def speaking(line: bytes, heard: list[bytes] | None = None) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        asked = connection.recv(100)
        if heard is not None:
            heard.append(asked)
        for byte in line:
            connection.sendall(bytes([byte]))

    return talk


def test_a_redis_answers_a_ping(rough: Rough) -> None:
    heard: list[bytes] = []
    state = check_redis(rough(speaking(b"+PONG\r\n", heard)))
    assert (state.reach, state.healthy, heard) == (Reach.ANSWERS, True, [b"PING\r\n"])


def test_a_redis_that_wants_a_password_is_there(rough: Rough) -> None:
    state = check_redis(rough(speaking(b"-NOAUTH Authentication required.\r\n")))
    assert (state.reach, state.healthy) == (Reach.ANSWERS, False)
    assert "Authentication required" in state.detail


@pytest.mark.parametrize("line", [b"HTTP/1.1 400 Bad Request\r\n", b"", b"+PO", b"-\x1b[2J\r\n", b"x" * 9000])
def test_something_else_is_no_redis(rough: Rough, line: bytes) -> None:
    state = check_redis(rough(speaking(line)))
    assert state.reach is Reach.FOREIGN
    assert state.detail.isprintable() and len(state.detail) < 200


def test_nothing_there_is_unreachable() -> None:
    assert check_redis(Endpoint("127.0.0.1", free_port())).reach is Reach.UNREACHABLE


def test_a_server_that_drips_is_cut_off(rough: Rough, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "_SECONDS", 0.3)

    def talk(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"+")
            connection.settimeout(0.05)
            try:
                if connection.recv(100) == b"":
                    return
            except TimeoutError:
                pass

    state = check_redis(rough(talk))
    assert state.reach is Reach.UNREACHABLE and "within 0.3 s" in state.detail
