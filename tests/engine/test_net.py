"""A port that cannot be had is one sentence with the flag, the value and a port that is free."""

from __future__ import annotations

import re
import socket

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.net import bind_listener, free_port


def test_a_bound_port_refuses_clients_until_it_listens() -> None:
    with bind_listener("--port", "127.0.0.1", free_port("127.0.0.1")) as bound:
        with socket.socket() as client:
            assert client.connect_ex(bound.getsockname()) != 0
        bound.listen()
        with socket.socket() as client:
            assert client.connect_ex(bound.getsockname()) == 0


def test_a_port_in_use_names_the_flag_and_a_free_one() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            bind_listener("--disaggregation-bootstrap-port", "127.0.0.1", port)
    assert (caught.value.field, caught.value.value) == ("--disaggregation-bootstrap-port", port)
    named = re.search(r"use --disaggregation-bootstrap-port (\d+)", str(caught.value))
    assert named is not None
    bind_listener("--port", "127.0.0.1", int(named[1])).close()


@pytest.mark.parametrize("host", ["198.51.100.7", "not an address", "a..b"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bind_listener("--port", host, 30000)
    assert caught.value.field == "--host"
