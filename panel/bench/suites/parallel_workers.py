"""The processes of the `parallel` suite: workers of several ranks, encoders and routers of the bundled engine.

Everything listens on 127.0.0.1 alone and ends with the block that started it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....engine.errors import PeerError
from ....engine.net import free_port

__all__ = ["HOST", "WorkerProcess", "Workers", "workers"]

HOST = "127.0.0.1"
_ONE_THREAD = ("env", "OMP_NUM_THREADS=1")
_READY_S = 120.0
_END_S = 10.0
_POLL_S = 0.05
_HTTP_S = 60.0


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A process that was started.

    Attributes:
        bootstrap: the bootstrap port of a prefill worker.
    """

    name: str
    port: int
    bootstrap: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{HOST}:{self.port}"

    @property
    def address(self) -> str:
        """What names it in metrics."""
        return f"{HOST}:{self.port}"

    def get(self, path: str) -> Any:
        """Returns the JSON of a GET."""
        with urllib.request.urlopen(self.url + path, timeout=_HTTP_S) as response:
            return json.load(response)

    def post(self, path: str, body: object) -> Any:
        """Returns the JSON of a POST."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=_HTTP_S) as response:
            return json.load(response)

    def metric(self, name: str, label: str = "") -> float:
        """Returns the sum of a metric's samples, of those with `label` in their labels; 0 without any."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=_HTTP_S) as response:
            lines = response.read().decode().splitlines()
        found = [line.rpartition(" ") for line in lines if line.partition("{")[0].partition(" ")[0] == name]
        return sum(float(value) for labels, _, value in found if label in labels)

    def wait_ready(self, path: str) -> None:
        """Waits until it answers with 200.

        Raises:
            PeerError: it ends, or that takes too long.
        """
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise PeerError(f"{self.name} ended with code {self.process.returncode}: {self._last_line()}.")
            try:
                with urllib.request.urlopen(self.url + path, timeout=_HTTP_S) as response:
                    if response.status == 200:
                        return
            except OSError:
                time.sleep(_POLL_S)
        raise PeerError(f"{self.name} is not ready after {_READY_S:g} s: {self._last_line()}.")

    def _last_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:500] if lines else "it said nothing"

    def end(self) -> None:
        """Ends it, if it has not yet."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Workers:
    """Starts processes; `workers` ends them.

    Args:
        folder: for logs.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._started: list[WorkerProcess] = []

    def worker(self, name: str, flags: Sequence[str], *, has_bootstrap: bool = False) -> WorkerProcess:
        """Starts a worker or an encoder; one thread for each rank."""
        bootstrap = free_port(HOST) if has_bootstrap else 0
        extra = ["--disaggregation-bootstrap-port", str(bootstrap)] if bootstrap else []
        return self._start(name, "launch_server", [*flags, *extra], bootstrap)

    def router(self, name: str, flags: Sequence[str]) -> WorkerProcess:
        """Starts a router and waits until it is ready."""
        process = self._start(name, "launch_router", flags, 0)
        process.wait_ready("/readiness")
        return process

    def wait_ready(self) -> None:
        """Waits for all workers that were started.

        Raises:
            PeerError: one does not come up.
        """
        for process in self._started:
            process.wait_ready("/health")

    def _start(self, name: str, module: str, flags: Sequence[str], bootstrap: int) -> WorkerProcess:
        port, log = free_port(HOST), self._folder / f"{name}.log"
        command = [*_ONE_THREAD, sys.executable, "-m", f"pdpanel.engine.{module}", *flags]
        command += ["--host", HOST, "--port", str(port)]
        with log.open("wb") as file:
            popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        process = WorkerProcess(name, port, bootstrap, popen, log)
        self._stack.callback(process.end)
        self._started.append(process)
        return process


@contextmanager
def workers() -> Iterator[Workers]:
    """Ends with the block what is started in it."""
    with tempfile.TemporaryDirectory(prefix="pdpanel-parallel-") as folder, ExitStack() as stack:
        yield Workers(Path(folder), stack)
