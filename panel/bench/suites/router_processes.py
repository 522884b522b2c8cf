"""The processes that the router suite compares: stand-in workers, the routers before them, and the load client.

Everything listens on 127.0.0.1 alone and is killed at the end: the foreign routers wait on SIGTERM for connections that
clients keep open.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ....engine.errors import PeerError
from ....engine.net import free_port

__all__ = ["OURS", "PEERS", "Fleet", "LoadResult", "RouterProcess", "fleet", "is_installed"]

OURS = "bundled"
# Name -> package to install, module to run. Retries and breakers are on, as everywhere by default.
PEERS = {
    "sglang-router": ("sglang-router==0.3.2", "sglang_router.launch_router"),
    "smg": ("smg==1.13.0", "smg.launch_router"),
}
_HOST = "127.0.0.1"
_READY_S = 60.0
_RUN_SPARE_S = 60.0
_POLL_S = 0.05
# A router has three files for each stream, which is over the usual limit for 1,024 of them.
_WITH_FILES = ("sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh")
_SUITES = "pdpanel.panel.bench.suites"


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one load saw, and what the router spent on it.

    Attributes:
        wrong: streams without the right number of events.
        lost: connections that broke.
        ttft_s: the median from a request to its first event.
        router_cpu_s: of the router's process while the load ran; 0 for a direct run.
    """

    seconds: float
    ended: int
    wrong: int
    lost: int
    ttft_s: float
    client_cpu_s: float
    router_cpu_s: float

    @property
    def streams_per_s(self) -> float:
        """Streams that ended in a second."""
        return self.ended / self.seconds


class RouterProcess:
    """A router that is ready.

    Attributes:
        url: where it serves; the stand-in for decode itself when `process` is None.
    """

    def __init__(self, url: str, process: psutil.Process | None) -> None:
        self.url = url
        self._process = process

    def rss_mb(self) -> float:
        """Returns its resident memory."""
        assert self._process is not None
        return self._process.memory_info().rss / 1e6

    def load(self, streams: int, tokens: int, seconds: float, warm_s: float) -> LoadResult:
        """Runs the client once.

        Raises:
            PeerError: streams broke or were not whole.
        """
        command = [*_client(self.url, streams, tokens), "--seconds", str(seconds), "--warm-s", str(warm_s)]
        before = self._cpu_s()
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds + warm_s + _RUN_SPARE_S
        )
        spent_s = self._cpu_s() - before
        if done.returncode:
            raise PeerError(f"The load client failed on {self.url}: {done.stderr.strip()[-300:]}.")
        seen: dict[str, Any] = json.loads(done.stdout)
        result = LoadResult(
            seconds=seen["seconds"],
            ended=seen["ended"],
            wrong=seen["wrong"],
            lost=seen["lost"],
            ttft_s=seen["ttft_p50_s"] or 0.0,
            client_cpu_s=seen["client_cpu_s"],
            # It spends next to nothing while the client starts and ends.
            router_cpu_s=spent_s * seen["seconds"] / (seen["seconds"] + warm_s),
        )
        if result.wrong or result.lost or not result.ended:
            said = f"{result.ended} streams ended, {result.wrong} without all events, {result.lost} broke"
            raise PeerError(f"{self.url} did not serve what it should: {said}.")
        return result

    @contextmanager
    def holding(self, streams: int, tokens: int) -> Iterator[None]:
        """Keeps `streams` open while the block runs.

        Raises:
            PeerError: not all of them opened.
        """
        command = [*_client(self.url, streams, tokens), "--hold"]
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert client.stdout is not None
            client.stdout.readline()
            yield
            said, _ = client.communicate("", timeout=_RUN_SPARE_S)
            seen = json.loads(said)
            if seen["opened"] < streams or seen["lost"]:
                raise PeerError(f"{self.url} opened {seen['opened']} of {streams} streams; {seen['lost']} broke.")
        finally:
            client.kill()
            client.communicate()

    def _cpu_s(self) -> float:
        if self._process is None:
            return 0.0
        times = self._process.cpu_times()
        return times.user + times.system


def _client(url: str, streams: int, tokens: int) -> list[str]:
    client = f"{_SUITES}.router_client"
    return [sys.executable, "-m", client, url, "--streams", str(streams), "--tokens", str(tokens)]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Routers before the same stand-ins, by name.

    Attributes:
        direct: the stand-in for decode itself, which serves a whole stream when nobody names a room.
    """

    routers: dict[str, RouterProcess]
    direct: RouterProcess


@contextmanager
def fleet(names: Sequence[str], pace_ms: float) -> Iterator[Fleet]:
    """Starts stand-ins with this pace, and the routers that are installed among `names` (OURS and of PEERS).

    Raises:
        PeerError: one of them does not come up.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pdpanel-bench-")))
        prefill, decode, bootstrap = (free_port(_HOST) for _ in range(3))
        ports = ["--prefill-port", str(prefill), "--decode-port", str(decode), "--bootstrap-port", str(bootstrap)]
        command = [sys.executable, "-m", f"{_SUITES}.router_worker", *ports, "--pace-ms", str(pace_ms)]
        stack.enter_context(_started(command, folder / "workers.log")).wait(f"http://{_HOST}:{decode}/health")
        workers = ["--prefill", f"http://{_HOST}:{prefill}", str(bootstrap), "--decode", f"http://{_HOST}:{decode}"]
        started: dict[str, tuple[str, _Process]] = {}
        for name in names:
            port = free_port(_HOST)
            command = [*_router(name), "--pd-disaggregation", *workers, "--host", _HOST, "--port", str(port)]
            command += ["--policy", "round_robin", "--prometheus-host", _HOST, "--prometheus-port"]
            command += [str(free_port(_HOST))]
            started[name] = (
                f"http://{_HOST}:{port}",
                stack.enter_context(_started(command, folder / f"{name}.log")),
            )
        routers: dict[str, RouterProcess] = {}
        for name, (url, process) in started.items():
            process.wait(f"{url}/readiness")
            routers[name] = RouterProcess(url, psutil.Process(process.pid))
        yield Fleet(routers, RouterProcess(f"http://{_HOST}:{decode}", None))


def is_installed(name: str) -> bool:
    """Returns whether the router can be started here."""
    return name == OURS or importlib.util.find_spec(PEERS[name][1].partition(".")[0]) is not None


def _router(name: str) -> list[str]:
    if name == OURS:
        return [sys.executable, "-m", "pdpanel.engine.launch_router", "--log-level", "warning"]
    return [*_WITH_FILES, sys.executable, "-m", PEERS[name][1], "--log-level", "warn"]


class _Process:
    """A process that is to answer.

    Attributes:
        pid: of the process.
    """

    def __init__(self, process: subprocess.Popen[bytes], command: Sequence[str], log: Path) -> None:
        self._process = process
        self._command = command
        self._log = log
        self.pid = process.pid

    def wait(self, url: str) -> None:
        """Waits until `url` answers 200.

        Raises:
            PeerError: it does not in time, or the process ended.
        """
        deadline = time.monotonic() + _READY_S
        while not _answers(url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text("utf-8", "replace").strip()[-300:]
                raise PeerError(f"{' '.join(self._command[-12:])} is not ready at {url}: {said}")
            time.sleep(_POLL_S)


@contextmanager
def _started(command: Sequence[str], log: Path) -> Iterator[_Process]:
    """Starts a process; kills it at the end."""
    with log.open("wb") as output:
        # The foreign routers would ask a hub for the tokenizer of a model that is none.
        offline = ["env", "HF_HUB_OFFLINE=1", *command]
        process = subprocess.Popen(offline, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield _Process(process, command, log)
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status == 200
    return False
