"""Real metadata servers on 127.0.0.1, real Mooncake engines, and servers that behave badly, for tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import etcd3gw
import pytest
import requests
from pdpanel.panel.metadata.address import Endpoint
from pdpanel.panel.metadata.server_commands import ReadyCheck, ServerCommand

LOCAL = "127.0.0.1"
REGISTERED = {
    "name": "node-a:17001",
    "protocol": "rdma",
    "devices": [{"name": "mlx5_0", "lid": 7, "gid": "fe80::1"}],
    "buffers": [{"name": "cuda:0", "addr": 4096, "length": 1 << 20, "rkey": [1], "lkey": [2]}],
    "priority_matrix": {},
    "tcp_data_port": 0,
    "timestamp": "2026-01-01 00:00:00.000000",
}
# An engine that registers, says so, and ends when its input does.
ENGINE = """
import os, sys
import numpy as np
from mooncake.engine import TransferEngine
engine = TransferEngine()
code = engine.initialize(sys.argv[1], sys.argv[2], "tcp", "")
memory = np.zeros(1 << 20, np.uint8)
if code == 0:
    code = engine.register_memory(memory.ctypes.data, memory.nbytes)
print(code, engine.get_rpc_port(), flush=True)
sys.stdin.readline()
"""


def wait_until_ready(check: ReadyCheck, process: subprocess.Popen[bytes]) -> None:
    """Returns when the server of `process` is what `check` wants."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + check.timeout_s
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args} ended"
        try:
            with opener.open(check.url, timeout=2) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read().decode()
        except OSError:
            status, text = 0, ""
        if status == check.status and check.text in text:
            return
        time.sleep(0.02)
    pytest.fail(f"{process.args} was not ready within {check.timeout_s} s")


def wait_for(look: Callable[[], bool], seconds: float = 30.0) -> None:
    """Returns once `look` returns True."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process, by its pid alone."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


class Started:
    """Processes that are ended with the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def server(self, command: ServerCommand) -> ServerCommand:
        """Starts a metadata server and waits until it is ready."""
        self.servers(command)
        return command

    def servers(self, *commands: ServerCommand) -> None:
        """Starts the members of one metadata server, each in a folder of its own, and waits until all are ready."""
        first = len(self.processes)
        for number, command in enumerate(commands, first):
            folder = self._folder / str(number)
            folder.mkdir()
            with (folder / "log").open("wb") as log:
                self.processes.append(subprocess.Popen(command.argv, cwd=folder, stdout=log, stderr=log))
        for command, process in zip(commands, self.processes[first:], strict=True):
            wait_until_ready(command.ready, process)

    def engine(self, name: str, url: str, **environ: str) -> tuple[int, int, subprocess.Popen[bytes]]:
        """Starts a Mooncake engine; returns what its initialize returned, its port and its process."""
        process = subprocess.Popen(
            [sys.executable, "-c", ENGINE, name, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MC_TCP_BIND_ADDRESS": LOCAL, **environ},
        )
        self.processes.append(process)
        assert process.stdout is not None
        code, port = process.stdout.readline().split()
        return int(code), int(port), process

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                end(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()


class RealEtcd:
    """An etcd of the distribution, and a way into it past what is tested."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"etcd://{LOCAL}:{port}"
        self.endpoint = Endpoint(LOCAL, port)
        session = requests.Session()
        session.trust_env = False
        self.client = etcd3gw.client(LOCAL, port, timeout=10, session=session)

    def put(self, key: str, value: str | bytes | dict[str, Any]) -> None:
        self.client.put(key.encode("utf-8", "surrogateescape"), json.dumps(value) if isinstance(value, dict) else value)

    def register(self, name: str, port: int, host: str = LOCAL, **changes: Any) -> None:
        """Writes the entries that an engine would."""
        self.put(f"mooncake/ram/{name}", {**REGISTERED, "name": name, **changes})
        self.put(f"mooncake/rpc_meta/{name}", {"ip_or_host_name": host, "rpc_port": port})

    def keys(self) -> list[str]:
        return [facts["key"].decode("utf-8", "surrogateescape") for _, facts in self.client.get_all()]


class RealHttp:
    """The wheel's HTTP metadata server, and a way into it past what is tested."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, method: str, key: str, value: bytes | None = None) -> tuple[int, bytes]:
        """Sends a request with the key quoted as Mooncake does."""
        quoted = urllib.parse.quote(key, safe="")
        request = urllib.request.Request(f"{self.url}?key={quoted}", value, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def register(self, name: str, port: int, host: str = LOCAL) -> None:
        self.ask("PUT", f"mooncake/ram/{name}", json.dumps({**REGISTERED, "name": name}).encode())
        where = json.dumps({"ip_or_host_name": host, "rpc_port": port}).encode()
        self.ask("PUT", f"mooncake/rpc_meta/{name}", where)


def answering(text: bytes) -> Callable[[socket.socket], None]:
    """Returns a talk that reads a request's head and sends `text`."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text)

    return talk


def http_answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    """Returns a whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def dripping(start: bytes) -> Callable[[socket.socket], None]:
    """Returns a talk that sends `start` and then a byte now and then, for as long as anybody listens."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(start)
        for _ in range(400):
            connection.sendall(b"a")
            time.sleep(0.05)

    return talk


class Rough:
    """Servers that hand each connection to a function and close it afterwards."""

    def __init__(self) -> None:
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __call__(self, talk: Callable[[socket.socket], None]) -> Endpoint:
        """Starts a server; returns where it listens."""
        listener = socket.create_server((LOCAL, 0))
        self._listeners.append(listener)
        self._start(self._accept, listener, talk)
        return Endpoint(LOCAL, listener.getsockname()[1])

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments))
        self._threads[-1].start()

    def _accept(self, listener: socket.socket, talk: Callable[[socket.socket], None]) -> None:
        with suppress(OSError):  # It is shut down.
            while True:
                connection, _ = listener.accept()
                self._start(self._serve, connection, talk)

    def _serve(self, connection: socket.socket, talk: Callable[[socket.socket], None]) -> None:
        with connection, suppress(OSError):
            connection.settimeout(20)
            talk(connection)

    def close(self) -> None:
        """Ends the servers; their connections end with their clients."""
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in self._threads:
            thread.join(25)
