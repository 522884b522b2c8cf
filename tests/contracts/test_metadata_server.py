"""The Mooncake transport with a real metadata server: etcd, and Mooncake's own over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from metadata_servers import LOCAL, Started
from pd_http import free_port
from pdpanel.engine.errors import TransferError
from pdpanel.engine.mooncake_config import MooncakeConfig
from pdpanel.engine.transfer.api import EndpointInfo, Segment, TicketState, TransferSettings
from pdpanel.engine.transfer.mooncake import MooncakeEndpoint, Registry
from pdpanel.engine.transfer.select import open_endpoint
from pdpanel.panel.metadata.server_commands import etcd_command, http_server_command

SETTINGS = TransferSettings(timeout_s=5.0)
SIZE = 1 << 20

TARGET = """
import os, sys, zlib
import msgspec, numpy as np
from pdpanel.engine.mooncake_config import MooncakeConfig
from pdpanel.engine.transfer.api import TransferSettings
from pdpanel.engine.transfer.select import open_endpoint
selection = open_endpoint("mooncake_tcp", host="127.0.0.1", device="", settings=TransferSettings(timeout_s=5.0),
                          environ=os.environ, mooncake=MooncakeConfig(metadata_server=sys.argv[1]), port=30001)
memory = np.zeros(1 << 20, np.uint8)
selection.endpoint.register(memory.ctypes.data, memory.nbytes)
print(selection.used, msgspec.json.encode(selection.endpoint.describe()).decode(), flush=True)
for line in sys.stdin:
    print(zlib.crc32(memory), flush=True)
selection.endpoint.close()
"""


@pytest.fixture(params=["etcd", "http"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    started = Started(tmp_path)
    port = free_port()
    try:
        if request.param == "etcd":
            started.server(etcd_command(client_port=port, peer_port=free_port()))
            yield f"etcd://{LOCAL}:{port}"
        else:
            started.server(http_server_command(port=port, python=sys.executable))
            yield f"http://{LOCAL}:{port}/metadata"
    finally:
        started.close()


class Target:
    """Another process with an endpoint, whose memory can be asked for its checksum."""

    def __init__(self, server: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TARGET, server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split(" ", 1)
        assert words[0] == "mooncake_tcp"
        self.info = msgspec.json.decode(words[1], type=EndpointInfo)

    def checksum(self) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("sum\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


def test_bytes_arrive_by_the_registered_name_also_after_the_peer_was_killed_and_came_back(server: str) -> None:
    """A peer that comes back has a new name: what was kept of the old one would lead to a closed port."""
    selection = open_endpoint(
        "mooncake_tcp",
        host=LOCAL,
        device="",
        settings=SETTINGS,
        environ=os.environ,
        mooncake=MooncakeConfig(metadata_server=server),
        port=30000,
    )
    memory = np.random.default_rng(7).integers(0, 255, SIZE, np.uint8)
    endpoint = selection.endpoint
    endpoint.register(memory.ctypes.data, memory.nbytes)
    assert selection.used == "mooncake_tcp" and endpoint.describe().session.endswith(":30000")
    names = []
    for _ in range(2):
        target = Target(server)
        try:
            ticket = endpoint.connect(target.info).write([Segment(0, 0, SIZE)])
            assert ticket.wait(20) and ticket.state is TicketState.DONE, ticket.error
            assert target.checksum() == zlib.crc32(memory.tobytes())
            names.append(target.info.session)
        finally:
            target.end()
    assert len(set(names)) == 2 and all(name.endswith(":30001") for name in names)
    endpoint.close()


def test_a_metadata_server_that_is_not_there_is_named() -> None:
    url = f"http://{LOCAL}:{free_port()}/metadata"
    with pytest.raises(TransferError, match=f"metadata server {url}"):
        MooncakeEndpoint(LOCAL, "", SETTINGS, protocol="tcp", registry=Registry(url, 30000))
