"""Where the first rank of several nodes listens: at an address of its node, or a name that is one soon."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.parallel import node


def test_a_name_that_dns_knows_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes starts a pod before its name is there."""
    asked: list[str] = []

    def lookup(host: str, *rest: Any) -> list[Any]:
        asked.append(host)
        if len(asked) < 3:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [rest]

    monkeypatch.setattr(node, "_LOOK_S", 0.001)
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    node._bound("localhost", 0).close()
    assert asked == ["localhost"] * 3


@pytest.mark.parametrize("name", ["nobody.invalid", "a..b", "198.51.100.7"])
def test_an_address_that_is_not_this_nodes(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(node, "_NAME_S", 0.0)
    with pytest.raises(ConfigError) as caught:
        node._bound(name, 5000)
    assert (caught.value.field, caught.value.value) == ("--dist-init-addr", f"{name}:5000")
    assert "on all nodes" in caught.value.remedy


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            node._bound("127.0.0.1", port)
    assert (caught.value.field, caught.value.value) == ("--dist-init-addr", f"127.0.0.1:{port}")
    assert "in use" in caught.value.problem and "on all nodes" in caught.value.remedy
