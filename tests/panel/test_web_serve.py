from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.web import serve
from pdpanel.panel.web.serve import find_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_free_port_is_taken_at_once() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with find_port("127.0.0.1", port) as listener:
        assert listener.getsockname() == ("127.0.0.1", port)


def test_busy_explicit_port_names_a_free_one(taken: int) -> None:
    with pytest.raises(ConfigError) as caught:
        find_port("127.0.0.1", taken)
    assert (caught.value.field, caught.value.value) == ("--port", taken)
    free = int(caught.value.remedy.split()[0])
    with find_port("127.0.0.1", free) as listener:
        assert listener.getsockname()[1] == free


def test_busy_default_port_takes_the_next(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "DEFAULT_PORT", taken)
    with find_port("127.0.0.1", None) as listener:
        assert taken < listener.getsockname()[1] <= taken + 100


@pytest.mark.parametrize("port", [-1, 65536, 99999999])
def test_impossible_port_is_one_sentence(port: int) -> None:
    with pytest.raises(ConfigError, match="is not a port"):
        find_port("127.0.0.1", port)


def test_foreign_address_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"--host = '192\.0\.2\.77': is not an address of this host"):
        find_port("192.0.2.77", 0)
