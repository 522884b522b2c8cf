"""A port that cannot be had is one sentence with the flag, the value and a port that is free."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from pdpanel.engine import net
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.net import bind_listener, ephemeral_range, free_port


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


def test_the_range_is_read_or_guessed(tmp_path: Path) -> None:
    path = tmp_path / "range"
    assert ephemeral_range(path) == (32768, 60999)
    path.write_text("1024\t2048\n")
    assert ephemeral_range(path) == (1024, 2048)


def test_a_free_port_is_none_that_an_outgoing_connection_may_get(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker found its port taken: between the choice and the bind a client's connection had got it."""
    monkeypatch.setattr(net, "ephemeral_range", lambda: (25000, 60999))
    assert all(20000 <= free_port("127.0.0.1") < 25000 for _ in range(50))
    monkeypatch.setattr(net, "ephemeral_range", lambda: (1024, 65535))
    assert free_port("127.0.0.1") > 1023, "where all ports are the kernel's to give, it gives one"


def test_a_port_that_is_taken_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        monkeypatch.setattr(net.secrets, "choice", lambda ports: port)
        assert free_port("127.0.0.1") != port
