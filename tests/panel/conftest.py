"""Runs of small fake workers: a few lines of http.server that speak /health, /metrics and /server_info."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from pdpanel.engine.errors import PdpanelError
from pdpanel.panel.config import PanelConfig
from pdpanel.panel.deployment import Deployment, parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan, ProcessSpec, Readiness
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.planning.kept import Kept
from pdpanel.panel.planning.node_facts import Nodes
from pdpanel.panel.ports import BAND, BOOTSTRAP_BAND, ROUTER_BAND, WORKER_BAND
from pdpanel.panel.runs import Runs, RunView

T = TypeVar("T")

FAKE_WORKER = r"""
import http.server, json, os, signal, subprocess, sys, time, threading
name, port, delay = os.environ["PDPANEL_PROCESS"], int(sys.argv[1]), float(sys.argv[2])
behaviour = sys.argv[3:]
if "ignore-term" in behaviour:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "crash" in behaviour:
    print("loading\n\x1b[31mRuntimeError: no such model\x1b[0m\nbye", flush=True)
    sys.exit(3)
if "grandchild" in behaviour:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)
    child.stdout.readline()
    open(name + ".grandchild", "w").write(str(child.pid))
started = time.monotonic()
tokens, peer = 0, os.environ["PEER"]
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global tokens
        status, kind, body = 200, "text/plain", ""
        if self.path in ("/health", "/readiness"):
            ready = time.monotonic() - started >= delay and "never-ready" not in behaviour
            status, kind, body = (200, "application/json", "{}") if ready else (
                503, "application/json", json.dumps({"stage": "loading weights"}))
        elif self.path == "/metrics":
            tokens += 10
            body = "\n".join([
                'sglang:num_running_reqs{model_name="m",engine_type="decode"} %s' % (
                    0 if "quiet" in behaviour else 2.0),
                'sglang:num_queue_reqs{model_name="m"} %s' % (0 if "quiet" in behaviour else 1.0),
                'sglang:prompt_tokens_total{model_name="m"} %d' % (tokens * 2),
                'sglang:generation_tokens_total{model_name="m"} %d' % tokens,
                'pdpanel_pages{pool="slot",state="free"} 5.0',
                'pdpanel_pages{pool="slot",state="held"} 7.0',
                'pdpanel_kv_bytes_total{direction="sent",peer="127.0.0.1:%s"} %d' % (peer, tokens * 100),
                ""])
        elif self.path == "/server_info":
            kind, body = "application/json", json.dumps({"startup": {"import torch": 0.5, "weights": 0.1}})
        data = body.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *args):
        pass
print(name, "listens on", port, flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", port), Answers).serve_forever()
"""


def ports_of_others() -> frozenset[int]:
    """Returns ports that are left to other processes of the tests: every process has a slice of each band of its own.

    Promises keep apart what lives; a test that starts a run again on ports that it has let go needs them free as well.
    The first slice is for runs of the real planner, which take the first free ports.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    number = int(worker.removeprefix("gw")) + 1 if worker else os.getpid() % 8 + 8
    size = BAND // 16
    return frozenset(
        port
        for band in (WORKER_BAND, BOOTSTRAP_BAND, ROUTER_BAND)
        for port in (*band[: number * size], *band[(number + 1) * size :])
    )


PORTS_OF_OTHERS = ports_of_others()


class FakeRuns:
    """Runs whose planner puts fake workers in place of the engine's.

    Attributes:
        behaviour: by process name, words for the fake worker: crash, ignore-term, grandchild, never-ready, quiet.
        delay_s: by process name, seconds until it is ready.
        change: what to change in each process.
    """

    def __init__(self, root: Path, runtime_dir: Path | None = None) -> None:
        self.config = PanelConfig(root / "state", root / "cache", root / "config")
        if runtime_dir is not None:  # else all processes of the tests meet where a user's panels do
            self.config = replace(self.config, runtime_dir=runtime_dir)
        self.behaviour: dict[str, str] = {}
        self.delay_s: dict[str, float] = {}
        self.change: Callable[[ProcessSpec], ProcessSpec] = lambda spec: spec
        self.prepare_code = ""
        self.runs = Runs(self.config, self._plan)

    def _plan(
        self, deployment: Deployment, host: HostFacts, ids: RunIds, nodes: Nodes, kept: Kept | None
    ) -> LaunchPlan:
        host = replace(host, taken=host.taken | PORTS_OF_OTHERS)
        real = plan(deployment, host, ids, nodes, kept)
        peers = {spec.role: spec.ports["http"] for spec in reversed(real.processes)}
        processes = []
        for spec in real.processes:
            words = self.behaviour.get(spec.name, "").split()
            delay = str(self.delay_s.get(spec.name, 0.0))
            argv = (sys.executable, "-c", FAKE_WORKER, str(spec.ports["http"]), delay, *words)
            env = {**spec.env, "PEER": str(peers.get("decode", 0))}  # type: ignore[call-overload]
            ready = Readiness(spec.ready.url, 2.0 if "never-ready" in words else 30.0)
            processes.append(self.change(replace(spec, argv=argv, env=env, ready=ready, grace_s=0.5)))
        step = None
        if self.prepare_code and real.prepare is not None:
            step = replace(real.prepare, argv=(sys.executable, "-c", self.prepare_code, deployment.model))
        return replace(real, processes=tuple(processes), prepare=step)

    def deployment(self, **fields: object) -> Deployment:
        return parse_deployment(
            {"name": "fake", "model": "m", "prefill": {"count": 1}, "decode": {"count": 1}, **fields}
        )

    def start(self, **fields: object) -> RunView:
        return self.runs.start(self.deployment(**fields))

    def wait(self, run_id: str, *states: str) -> RunView:
        """Returns the run once it is in one of `states`."""
        return wait_for(lambda: (view := self.runs.get(run_id)).state in states and view, f"{run_id} {states}")

    def wait_process(self, run_id: str, name: str, *states: str) -> RunView:
        """Returns the run once its process `name` is in one of `states`."""

        def look() -> RunView | None:
            view = self.runs.get(run_id)
            return view if any(p.name == name and p.state in states for p in view.processes) else None

        return wait_for(look, f"{name} {states}")


def wait_for(look: Callable[[], T | bool | None], what: str, seconds: float = 30.0) -> T:
    """Returns what `look` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen within {seconds} s: {what}")
        time.sleep(0.02)
    return found  # type: ignore[return-value]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeRuns]:
    """Fake runs below a fresh folder; all of them are ended afterwards."""
    runs = FakeRuns(tmp_path)
    yield runs
    for view in runs.runs.list():
        try:
            runs.runs.stop(view.id)
        except PdpanelError as error:
            pytest.fail(f"{view.id} could not be stopped: {error}")


@pytest.fixture
def listen_on() -> Iterator[Callable[[int], None]]:
    """Returns a function that makes this process listen on a port until the test ends."""
    with ExitStack() as stack:

        def listen(port: int) -> None:
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()

        yield listen
