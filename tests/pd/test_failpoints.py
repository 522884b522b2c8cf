"""Workers that die or stop at named points of a request's life: what the client sees, and what the survivors keep.

One cluster per transport; its victims are started again with the next point armed, at their old addresses, as a runner
would do it. Load goes on until the point is hit, and every request of it must have its one right end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from cluster import Cluster, Process
from pd_http import get
from pdpanel.engine.failpoints import POINTS
from pdpanel.panel.bench.answer import Answer
from pdpanel.panel.bench.cases import Case, make_cases
from pdpanel.panel.bench.client import ask, open_session
from pdpanel.panel.bench.verdict import Verdict, is_right, verdict
from pdpanel.panel.runner.procfs import read_stat

TRANSPORTS = ("tcp", "mooncake_tcp", "shm", "nixl")
CASES = make_cases(6, longest=10)
HIT_S = 60.0
BACK_S = 60.0

pytestmark = pytest.mark.timeout(600)


@dataclass
class Stage:
    """A cluster of two pairs, what it answers, and the arguments of its workers."""

    cluster: Cluster
    arguments: list[str]
    right: dict[str, Answer]

    def start_again(self, name: str, failpoints: str) -> Process:
        """Starts a worker anew at its address, armed; the old one is ended first."""
        old = self.cluster.processes[name]
        end(old)
        mode = name.split("-")[0]
        bootstrap = ["--disaggregation-bootstrap-port", str(old.bootstrap)] if old.bootstrap else []
        port = int(old.url.rsplit(":", 1)[1])
        command = ["--model-path", "smollm2-135m-instruct", "--disaggregation-mode", mode, *self.arguments, *bootstrap]
        before = self.cluster.environ
        self.cluster.environ = {**before, "PDPANEL_FAILPOINTS": failpoints}
        try:
            process = self.cluster.spawn(name, "launch_server", command, port)
        finally:
            self.cluster.environ = before
        process.bootstrap = old.bootstrap
        process.wait_ready("/health")
        return process


def end(process: Process) -> None:
    if process.popen.poll() is None:
        process.popen.send_signal(signal.SIGKILL)
        process.popen.wait(20)


def is_hit(process: Process) -> bool:
    stat = read_stat(process.popen.pid)
    return stat is None or stat.state in "TZ"


async def load(url: str, cases: tuple[Case, ...]) -> list[Answer]:
    async with open_session() as session:
        answers = await asyncio.gather(*(ask(session, url, case) for case in cases))
    return [answer for answer in answers if answer is not None]


def start(make_cluster, folder: Path, transport: str) -> Iterator[Stage]:
    arguments = ["--dtype", "float32", "--kv-cache-dtype", "float32", "--max-total-tokens", "4096"]
    arguments += ["--disaggregation-transfer-backend", transport]
    with make_cluster(folder, arguments, {"PDPANEL_CHECK_PAGES": "1"}, prefill=2, decode=2) as made:
        answers = asyncio.run(load(made.url, CASES))
        assert {verdict(answer) for answer in answers} == {Verdict.COMPLETED}, answers
        stage = Stage(made, arguments, {case.name: answer for case, answer in zip(CASES, answers, strict=True)})
        yield stage
        for name in ("prefill-0", "decode-0"):  # armed ones may have been left stopped
            os.kill(stage.cluster.processes[name].popen.pid, signal.SIGCONT)
            stage.start_again(name, "")


@pytest.fixture(scope="module")
def plain(make_cluster, tmp_path_factory) -> Iterator[Stage]:
    yield from start(make_cluster, tmp_path_factory.mktemp("failpoints"), "tcp")


@pytest.fixture(scope="module", params=TRANSPORTS)
def stage(make_cluster, tmp_path_factory, request) -> Iterator[Stage]:
    if request.param == "nixl" and find_spec("nixl_cu12") is None:  # importing it here would end pytest with a crash
        pytest.skip("the extra nixl is not installed")
    yield from start(make_cluster, tmp_path_factory.mktemp(f"failpoints-{request.param}"), request.param)


def check(stage: Stage, point: str, action: str) -> None:
    cluster, name = stage.cluster, f"{point.split('.')[0]}-0"
    victim = stage.start_again(name, f"{point}={action}")
    deadline = time.monotonic() + HIT_S
    while not is_hit(victim):
        assert time.monotonic() < deadline, f"{point} was not hit:\n{victim.tail()}"
        for case, answer in zip(CASES, asyncio.run(load(cluster.url, CASES)), strict=True):
            about = (case.name, answer, stage.right[case.name])
            assert verdict(answer) in (Verdict.COMPLETED, Verdict.FAILED), about
            assert is_right(answer, stage.right[case.name]), about
            # The other pair lives: nothing that could be tried again may come out as an error.
            assert verdict(answer) is Verdict.COMPLETED, about
    assert f'"point": "{point}"' in victim.tail()
    stage.start_again(name, "")
    survivors_are_whole(cluster)


def survivors_are_whole(cluster: Cluster) -> None:
    deadline = time.monotonic() + BACK_S
    names = [name for name in cluster.processes if name != "router"]
    while True:
        pools = {n: get(cluster.processes[n].url + "/server_info")["pages"] for n in names}
        held = {
            f"{n} {kind}": pool
            for n, kinds in pools.items()
            for kind, pool in kinds.items()
            if pool and pool["free"] + pool["cached"] != pool["total"]
        }
        if not held:
            break
        assert time.monotonic() < deadline, held
        time.sleep(0.05)
    for name in names:
        assert cluster.metric(name, "pdpanel_integrity_errors_total") == 0
        assert cluster.metric(name, "pdpanel_late_writes_total") == 0


@pytest.mark.parametrize(
    "armed",
    [
        "prefill.while_writing=kill",
        "prefill.before_commit=stop",
        "decode.while_streaming=kill",
    ],
)
def test_every_request_ends_once_and_rightly(plain: Stage, armed: str) -> None:
    check(plain, *armed.split("="))


@pytest.mark.slow
@pytest.mark.parametrize("action", ["kill", "stop"])
@pytest.mark.parametrize("point", POINTS)
def test_every_point_on_every_transport(stage: Stage, point: str, action: str) -> None:
    check(stage, point, action)
