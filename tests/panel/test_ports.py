from __future__ import annotations

import os
import socket

from pdpanel.panel.ports import choose_port, is_free, port_holder, taken_ports


def test_a_listening_port_is_taken_and_its_holder_is_named() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        assert port in taken_ports("127.0.0.1", [port])
        assert f"process {os.getpid()} (" in port_holder(port)
    assert is_free("127.0.0.1", port)


def test_a_port_in_time_wait_is_free() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    assert is_free("127.0.0.1", port)


def test_an_address_that_is_not_there_is_not_a_taken_port() -> None:
    """The engine's own sentence about the address is better than a complaint about every port."""
    assert is_free("192.0.2.1", 30000)


def test_ports_outside_the_kernels_range_come_first() -> None:
    assert choose_port(range(10, 20), {10}, (5, 14)) == 15
    assert choose_port(range(10, 20), set(range(15, 20)), (5, 14)) == 10
    assert choose_port(range(10, 12), {10, 11}, (5, 14)) is None
