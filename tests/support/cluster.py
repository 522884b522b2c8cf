"""Real workers and routers as processes, for the tests of whole deployments."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pd_http import free_port, get, post

START_TIMEOUT_S = 120.0


@dataclass
class Process:
    """One process of ours and its log; `bootstrap` is a prefill worker's bootstrap port."""

    name: str
    url: str
    log: Path
    popen: subprocess.Popen[bytes]
    bootstrap: int = 0

    def stop(self) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(20)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(10)
            raise AssertionError(f"{self.name} did not end on SIGTERM:\n{self.tail()}") from None

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def wait_ready(self, path: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.popen.poll() is None, f"{self.name} ended with {self.popen.returncode}:\n{self.tail()}"
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url + path, timeout=5) as response:
                if response.status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{self.name} is not ready after {START_TIMEOUT_S} s:\n{self.tail()}")


@dataclass
class Cluster:
    """Workers behind a router.

    Attributes:
        environ: variables of the processes that are started from now on.
    """

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.processes["router"].url

    def spawn(self, name: str, module: str, arguments: Sequence[str], port: int, threads: int = 1) -> Process:
        log = self.folder / f"{name}.log"
        command = [sys.executable, "-m", f"pdpanel.engine.{module}", *arguments, "--port", str(port)]
        with log.open("ab") as output:
            environment = os.environ | {"OMP_NUM_THREADS": str(threads), **self.environ}
            popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        self.processes[name] = process = Process(name, f"http://127.0.0.1:{port}", log, popen)
        return process

    def worker(self, name: str, mode: str, arguments: Sequence[str], bootstrap: int | None = None) -> Process:
        extra = ["--disaggregation-bootstrap-port", str(bootstrap)] if bootstrap else []
        arguments = ["--model-path", "smollm2-135m-instruct", "--disaggregation-mode", mode, *arguments, *extra]
        process = self.spawn(name, "launch_server", arguments, free_port())
        process.bootstrap = bootstrap or 0
        return process

    def start(self, arguments: Sequence[str], *, prefill: int = 0, decode: int = 0, unified: int = 0) -> None:
        """Starts workers with these arguments and a router before them; returns when the router is ready."""
        router: list[str] = []
        for index in range(prefill):
            bootstrap = free_port()
            process = self.worker(f"prefill-{index}", "prefill", arguments, bootstrap)
            router += ["--prefill", process.url, str(bootstrap)]
        for index in range(decode):
            router += ["--decode", self.worker(f"decode-{index}", "decode", arguments).url]
        if unified:
            workers = [self.worker(f"unified-{index}", "null", arguments).url for index in range(unified)]
            router += ["--worker-urls", *workers]
        else:
            router = ["--pd-disaggregation", *router]
        for process in self.processes.values():
            process.wait_ready("/health")
        self.spawn("router", "launch_router", router, free_port()).wait_ready("/readiness")

    def pages(self) -> dict[str, dict[str, dict[str, int]]]:
        """Pools of every worker, from /server_info."""
        return {n: get(p.url + "/server_info")["pages"] for n, p in self.processes.items() if n != "router"}

    def wait_idle(self) -> None:
        """Waits until every page is free, or kept for later prompts alone; fails with what is held."""
        deadline = time.monotonic() + 10
        while True:
            pages = self.pages()
            held = {
                n: p
                for n, p in pages.items()
                if any(pool and pool["free"] + pool["cached"] != pool["total"] for pool in p.values())
            }
            if not held:
                return
            assert time.monotonic() < deadline, held
            time.sleep(0.05)

    def metric(self, process: str, name: str) -> float:
        """Sum of a metric's samples over its labels."""
        with urllib.request.urlopen(self.processes[process].url + "/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name]
        assert values, f"{name} is not exported"
        return sum(values)

    def generate(self, ids: Sequence[int], **sampling: Any) -> list[int]:
        """Returns the output ids of a /generate through the router."""
        status, answer = post(self.url + "/generate", {"input_ids": list(ids), "sampling_params": sampling})
        assert status == 200, answer
        return answer["output_ids"]

    def stop(self) -> None:
        codes = {name: process.stop() for name, process in reversed(self.processes.items())}
        assert set(codes.values()) <= {0}, codes
        for process in self.processes.values():  # a worker looks for lost pages when it is idle, and when it ends
            broken = [
                line for line in process.log.read_text(errors="replace").splitlines() if "integrity_error" in line
            ]
            assert not broken, (process.name, broken)


@contextlib.contextmanager
def cluster(
    folder: Path, arguments: Sequence[str], environ: Mapping[str, str] | None = None, **roles: int
) -> Iterator[Cluster]:
    """Starts workers and a router; ends them with the block."""
    made = Cluster(folder, environ or {})
    try:
        made.start(arguments, **roles)
        yield made
    finally:
        made.stop()
