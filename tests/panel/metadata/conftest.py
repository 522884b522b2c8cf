"""Fixtures around real metadata servers, real engines and servers that behave badly."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from metadata_servers import RealEtcd, RealHttp, Rough, Started
from pd_http import free_port
from pdpanel.panel.metadata.server_commands import etcd_command, http_server_command


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Starts servers and engines of one test."""
    processes = Started(tmp_path)
    yield processes
    processes.close()


@pytest.fixture(scope="session")
def etcd_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The client port of an etcd for the whole session."""
    if shutil.which("etcd") is None:
        pytest.skip("etcd is not installed; `make setup` of the tests brings it")
    processes = Started(tmp_path_factory.mktemp("etcd"))
    ports = free_port(), free_port()
    processes.server(etcd_command(client_port=ports[0], peer_port=ports[1], data_dir="data"))
    yield ports[0]
    processes.close()


@pytest.fixture
def etcd(etcd_process: int) -> Iterator[RealEtcd]:
    """A real etcd that holds nothing."""
    server = RealEtcd(etcd_process)
    server.client.delete_prefix("mooncake")
    server.client.delete_prefix("other")
    yield server
    server.client.session.close()


@pytest.fixture
def http_server(started: Started) -> RealHttp:
    """The HTTP metadata server of the installed Mooncake, started by the command under test."""
    pytest.importorskip("mooncake", reason="Mooncake is not installed")
    return RealHttp(started.server(http_server_command(port=free_port(), python=sys.executable)).server.url)


@pytest.fixture
def rough() -> Iterator[Rough]:
    """Starts servers that hand each connection to a function."""
    servers = Rough()
    yield servers
    servers.close()
