from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.access.access import Access
from pdpanel.panel.access.door import Door, read_door
from pdpanel.panel.access.password import hash_password
from pdpanel.panel.access.tls import TlsFiles
from pdpanel.panel.config import read_config
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


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.77"])
def test_other_machines_are_let_in_by_nothing_but_a_door(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lets other machines reach the panel"):
        serve.serve(read_config({}, state_dir=tmp_path), host, 0, False)
    users = read_door("127.0.0.1", auth=[f"ann:{hash_password('correct horse', n=2).text()}"])
    with pytest.raises(ConfigError, match="lets other machines reach the panel"):
        serve.serve(read_config({}, state_dir=tmp_path), host, 0, False, door=users)


@pytest.mark.parametrize(
    ("door", "host", "url"),
    [
        (Door(), "127.0.0.1", "http://127.0.0.1:7860/"),
        (Door(), "::1", "http://[::1]:7860/"),
        (Door(root_path="/x", origins=("https://hub.example",)), "127.0.0.1", "https://hub.example/x/"),
        (Door(behind_proxy=True, hosts=("panel.example",)), "0.0.0.0", "https://panel.example/"),
        (Door(tls=TlsFiles(Path("c"), Path("k"), ("node1",))), "0.0.0.0", "https://node1:7860/"),
    ],
)
def test_printed_url_is_one_that_opens(door: Door, host: str, url: str) -> None:
    access = replace(Access.for_port(7860, "t", secure=door.secure), root_path=door.root_path)
    assert serve._url(access, door, host, 7860) == url
