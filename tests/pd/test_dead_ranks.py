"""A rank of one half of a pair dies under load: its worker ends and says why, and nobody else loses anything by it.

Behind the router stands another worker of the victim's role, which computes what the victim had, or none, and then each
request ends with one clear error.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster import Cluster, Process
from pd_http import free_port, get
from pdpanel.panel.bench.answer import Answer
from pdpanel.panel.bench.cases import Case
from pdpanel.panel.bench.client import ask, open_session
from pdpanel.panel.bench.verdict import Verdict, is_right, verdict

FLAGS = ["--model-path", "random:llama-gqa", "--dtype", "float32", "--kv-cache-dtype", "float32"]
FLAGS += ["--max-total-tokens", "4096", "--disaggregation-transfer-backend", "tcp"]
WAIT_S = 60.0
LONG, SHORT = 160, 4  # tokens of an answer: decode is at work for long, or prefill has more to do
VICTIMS = ("decode", "prefill", "decode over two nodes")
REASON = r"Rank 1 \(pid \d+ on node [01]\) (was ended by SIGKILL|is gone: its connection ended)"

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


def wait(condition: Callable[[], bool], why: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.01)


@dataclass
class Stage:
    """A router before one pair whose one half has two ranks, and a spare worker beside that half or none.

    Attributes:
        role: of the victim.
        other: node 1 of the victim, where it has two.
    """

    cluster: Cluster
    role: str
    other: Process | None = None

    @property
    def victim(self) -> Process:
        return self.cluster.processes["victim"]

    def spawn(self, name: str, role: str, *more: str) -> Process:
        bootstrap = free_port() if role == "prefill" else 0
        flags = [*FLAGS, "--disaggregation-mode", role, *more]
        flags += ["--disaggregation-bootstrap-port", str(bootstrap)] if bootstrap else []
        process = self.cluster.spawn(name, "launch_server", flags, free_port())
        process.bootstrap = bootstrap
        return process

    def start(self, *, two_nodes: bool, spare: bool) -> None:
        ranks = ["--tp-size", "2"]
        if two_nodes:
            ranks += ["--nnodes", "2", "--dist-init-addr", f"127.0.0.1:{free_port()}"]
            self.other = self.spawn("node-1", self.role, *ranks, "--node-rank", "1")
        self.spawn("victim", self.role, *ranks)
        if spare:
            self.spawn("spare", self.role)
        opposite = {"prefill": "decode", "decode": "prefill"}[self.role]
        self.spawn("opposite", opposite)
        names = {self.role: ["victim", "spare"] if spare else ["victim"], opposite: ["opposite"]}
        router = ["--pd-disaggregation", "--worker-wait-secs", "0"]
        for name in names["prefill"]:
            process = self.cluster.processes[name]
            router += ["--prefill", process.url, str(process.bootstrap)]
        for name in names["decode"]:
            router += ["--decode", self.cluster.processes[name].url]
        for process in self.cluster.processes.values():
            process.wait_ready("/health")
        self.cluster.spawn("router", "launch_router", router, free_port()).wait_ready("/readiness")

    def answers(self, cases: list[Case], beside: Callable[[], None] = lambda: None) -> list[Answer]:
        """Returns what the router answers when all is asked at once, and `beside` is called meanwhile."""

        async def all_of_them() -> list[Answer | None]:
            async with open_session() as session:
                asked = [asyncio.create_task(ask(session, self.cluster.url, case)) for case in cases]
                await asyncio.to_thread(beside)
                return await asyncio.gather(*asked)

        return [answer for answer in asyncio.run(all_of_them()) if answer is not None]

    def kill(self) -> None:
        """Kills the rank, or the node that it is on, once the victim has something to do."""
        if self.other is not None:
            target = self.other.popen.pid
        else:
            (target,) = [rank["pid"] for rank in get(self.victim.url + "/server_info")["ranks"] if rank["rank"]]
        wait(lambda: get(self.victim.url + "/server_info")["open"]["rooms"] > 0, self.victim.tail)
        os.kill(target, signal.SIGKILL)

    def check_end(self, health: list[str]) -> None:
        """The victim has said why, in its log and on /health, and ended."""
        victim = self.cluster.processes.pop("victim")
        assert victim.popen.wait(30) == 1, victim.tail()
        (fatal,) = [line for line in victim.log.read_text().splitlines() if '"event": "fatal"' in line]
        assert re.search(REASON, fatal), fatal
        assert any(re.search(REASON, words) for words in health), health[-5:]
        if self.other is not None:
            assert self.cluster.processes.pop("node-1").popen.wait(30) == -signal.SIGKILL

    def check_survivors(self) -> None:
        """Nothing is held or open any more; pages that the dead might have written come back later than others."""
        survivors = [process for name, process in self.cluster.processes.items() if name != "router"]
        for process in survivors:
            wait(lambda url=process.url: not left_at(url), lambda url=process.url: left_at(url))
            assert not re.search("late_write|damaged_pages", process.log.read_text()), process.tail()


def left_at(url: str) -> dict[str, int]:
    """Returns what a worker has not given back or ended."""
    info = get(url + "/server_info")
    pools = {name: pool["total"] - pool["free"] - pool["cached"] for name, pool in info["pages"].items() if pool}
    bounces = {f"bounce of rank {rank['rank']}": rank["bounce"] for rank in info["ranks"]}
    return {name: count for name, count in (pools | bounces | info["open"]).items() if count}


@contextmanager
def staged(folder: Path, victim: str, *, spare: bool) -> Iterator[Stage]:
    cluster = Cluster(folder, {"PDPANEL_CHECK_PAGES": "1", "PDPANEL_CACHE_DIR": str(folder / "cache")})
    stage = Stage(cluster, victim.split(" ")[0])
    try:
        stage.start(two_nodes="nodes" in victim, spare=spare)
        yield stage
    finally:
        cluster.stop()


@contextmanager
def watched_health(url: str) -> Iterator[list[str]]:
    """Collects what /health says while it is not well, as often as can be."""
    found: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            try:
                urllib.request.urlopen(url + "/health", timeout=5).close()
            except urllib.error.HTTPError as error:
                found.append(error.read().decode())
            except OSError:
                continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def cases(role: str) -> list[Case]:
    tokens = LONG if role == "decode" else SHORT
    bodies = [
        {
            "input_ids": [16 + (7 * (place + 1) * (number + 1)) % 250 for place in range(40 + 90 * (number % 5))],
            "sampling_params": {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True},
        }
        for number in range(12)
    ]
    return [Case(f"{number}", "/generate", body, stream=number % 3 > 0) for number, body in enumerate(bodies)]


@pytest.mark.parametrize("victim", VICTIMS)
def test_another_worker_computes_what_a_dead_rank_owed(tmp_path: Path, victim: str) -> None:
    with staged(tmp_path, victim, spare=True) as stage:
        wanted = cases(stage.role)
        right = stage.answers(wanted)
        assert [verdict(answer) for answer in right] == [Verdict.COMPLETED] * len(wanted)
        with watched_health(stage.victim.url) as health:
            found = stage.answers(wanted, stage.kill)
            stage.victim.popen.wait(30)
        for case, answer, reference in zip(wanted, found, right, strict=True):
            assert verdict(answer) is Verdict.COMPLETED and is_right(answer, reference), (case.name, answer)
        stage.check_end(health)
        stage.check_survivors()


@pytest.mark.parametrize("victim", VICTIMS)
def test_without_another_worker_each_request_ends_with_one_error(tmp_path: Path, victim: str) -> None:
    with staged(tmp_path, victim, spare=False) as stage:
        wanted = cases(stage.role)
        right = stage.answers(wanted)
        with watched_health(stage.victim.url) as health:
            found = stage.answers(wanted, stage.kill)
            stage.victim.popen.wait(30)
        came = [verdict(answer) for answer in found]
        assert Verdict.BROKEN not in came, found
        assert set(came) & {Verdict.FAILED, Verdict.REFUSED}, came
        for answer, reference in zip(found, right, strict=True):
            if verdict(answer) is not Verdict.REFUSED:
                assert is_right(answer, reference) and (answer.error or verdict(answer) is Verdict.COMPLETED), answer
        stage.check_end(health)
        stage.check_survivors()
