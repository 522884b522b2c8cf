"""Whole workers of several rank processes: their tokens, what they say of themselves, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from pd_http import free_port, get, post
from pdpanel.engine.config import Environment, read_environment
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.model.llama import Llama
from pdpanel.engine.model.store import resolve_model
from pdpanel.engine.model.weights import load_weights

WAIT_S = 60.0
PROMPT = [5, 17, 200, 31, 8, 8, 120, 64, 99, 3]
TOKENS = 12
COMMON = ["--kv-cache-dtype", "float32", "--max-total-tokens", "512", "--page-size", "16", "--log-level", "info"]


@dataclass
class Node:
    """One process that a person would start, and its log."""

    url: str
    log: Path
    popen: subprocess.Popen[bytes]

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def status(self) -> tuple[int, str]:
        """Returns what /health answers; 0 without an answer."""
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self) -> None:
        wait(lambda: self.popen.poll() is not None or self.status()[0] == 200, self.text)
        assert self.popen.poll() is None, self.text()


def wait(condition: Callable[[], bool], why: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.02)


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Workers:
    """Starts nodes of workers, and ends all of them."""

    model: Path
    folder: Path
    nodes: list[Node] = field(default_factory=list)

    def start(self, *arguments: str) -> Node:
        port, log = free_port(), self.folder / f"{len(self.nodes)}.log"
        command = [sys.executable, "-m", "pdpanel.engine.launch_server", "--model-path", str(self.model)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PDPANEL_CACHE_DIR": str(self.folder / "cache")}
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [*command, "--port", str(port), *COMMON, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )
        self.nodes.append(Node(f"http://127.0.0.1:{port}", log, popen))
        return self.nodes[-1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, write_hf: Any, make_tiny_model: Any) -> Path:
    """A random Llama with 6 heads and 3 KV heads, which two ranks share out as 4 and 2, 2 and 1."""
    tiny = make_tiny_model(heads=6, kv_heads=3, hidden=96, head_size=16, seed=3)
    return write_hf(tmp_path_factory.mktemp("model") / "tiny", tiny)


@pytest.fixture(scope="module")
def workers(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    made = Workers(model, tmp_path_factory.mktemp("workers"))
    yield made
    for node in made.nodes:
        if node.popen.poll() is None:
            node.popen.send_signal(signal.SIGTERM)
    for node in made.nodes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.popen.wait(20)
        node.popen.kill()
        node.popen.wait(20)


@pytest.fixture(scope="module")
def expected(workers: Workers) -> list[int]:
    """What one rank answers: the greedy tokens of the whole model."""
    environment: Environment = read_environment({"PDPANEL_CACHE_DIR": str(workers.folder / "cache")})
    resolved = resolve_model(str(workers.model), environment)
    llama = Llama(resolved.shape, load_weights(resolved.directory, resolved.shape), 256)
    kv = KVCache(resolved.shape, pages=8, page_size=16, dtype=torch.float32, staging=False)
    tokens = list(PROMPT)
    with torch.inference_mode():
        start = 0
        for _ in range(TOKENS):
            logits = llama.forward([TokenSpan(tokens[start:], start, 0, True)], kv)
            start = len(tokens)
            tokens.append(int(logits.argmax()))
    return tokens[len(PROMPT) :]


def ask(node: Node, prompt: Sequence[int] = PROMPT, tokens: int = TOKENS) -> list[int]:
    sampling = {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True}
    status, answer = post(node.url + "/generate", {"input_ids": list(prompt), "sampling_params": sampling})
    assert status == 200, answer
    return answer["output_ids"]


def ranks_of(node: Node) -> list[dict[str, Any]]:
    return get(node.url + "/server_info")["ranks"]


def test_two_ranks_answer_what_one_does_and_end_with_the_first(workers: Workers, expected: list[int]) -> None:
    node = workers.start("--tp-size", "2")
    node.wait_ready()
    assert ask(node) == expected
    info = get(node.url + "/server_info")
    assert info["sizes"] == {"tp": 2, "attn_dp": 1, "ep": 1, "nodes": 1}
    assert (info["tp_size"], info["dp_size"]) == (2, 1)
    first, second = info["ranks"]
    assert (first["rank"], first["pid"], first["heads"], first["kv_heads"]) == (0, node.popen.pid, [0, 4], [0, 2])
    assert (second["rank"], second["node"], second["heads"], second["kv_heads"]) == (1, 0, [4, 6], [2, 3])
    assert first["alive"] and second["alive"] and is_there(second["pid"])
    assert node.text().count("3 KV heads do not divide by 2 ranks, which have 2, 1") == 1
    wait(lambda: ranks_of(node)[1]["compute_s"] > 0, node.text)
    with urllib.request.urlopen(node.url + "/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    values = {line.split(" ")[0]: float(line.split(" ")[1]) for line in lines if line.startswith("pdpanel:rank_")}
    for rank in "01":
        assert values[f'pdpanel:rank_alive{{rank="{rank}"}}'] == 1
        assert values[f'pdpanel:rank_rss_bytes{{rank="{rank}"}}'] > 1 << 20
        computed = values[f'pdpanel:rank_compute_seconds_total{{rank="{rank}"}}']
        assert 0 < values[f'pdpanel:rank_wait_seconds_total{{rank="{rank}"}}'] < computed
    node.popen.kill()  # and nobody is left to tell the others
    node.popen.wait(20)
    wait(lambda: not is_there(second["pid"]), lambda: "the second rank lives on")


def test_a_killed_rank_ends_its_worker_with_a_reason(workers: Workers) -> None:
    node = workers.start("--tp-size", "2", "--shutdown-grace-period-secs", "0")
    node.wait_ready()
    second = ranks_of(node)[1]
    os.kill(second["pid"], signal.SIGKILL)
    reason = f"Rank 1 (pid {second['pid']} on node 0) was ended by SIGKILL"
    answers: list[tuple[int, str]] = []
    wait(lambda: bool(answers.append(node.status()) or node.popen.poll() is not None), node.text)
    assert node.popen.returncode == 1, node.text()
    assert any(status == 503 and reason in words for status, words in answers), answers[-5:]
    assert f'"reason": "{reason}.' in node.text()


def test_two_nodes_are_one_worker(workers: Workers, expected: list[int]) -> None:
    common = ["--tp-size", "2", "--nnodes", "2", "--dist-init-addr", f"127.0.0.1:{free_port()}"]
    other = workers.start(*common, "--node-rank", "1")
    wait(lambda: other.status()[0] == 503, other.text)  # it is there, and not ready without the first
    first = workers.start(*common, "--shutdown-grace-period-secs", "0")
    for node in (first, other):
        node.wait_ready()
    assert ask(first) == expected
    second = ranks_of(first)[1]
    assert second["node"] == 1 and second["pid"] != other.popen.pid
    os.kill(second["pid"], signal.SIGKILL)
    reason = f"Rank 1 (pid {second['pid']} on node 1) was ended by SIGKILL."
    assert (first.popen.wait(20), other.popen.wait(20)) == (1, 1)
    for node in (first, other):
        assert reason in node.text(), node.text()


def test_an_ordered_end_leaves_nobody(workers: Workers) -> None:
    common = ["--tp-size", "2", "--nnodes", "2", "--dist-init-addr", f"127.0.0.1:{free_port()}"]
    first, other = workers.start(*common), workers.start(*common, "--node-rank", "1")
    for node in (first, other):
        node.wait_ready()
    second = ranks_of(first)[1]["pid"]
    first.popen.send_signal(signal.SIGTERM)
    assert (first.popen.wait(20), other.popen.wait(20)) == (0, 0), first.text() + other.text()
    assert not is_there(second)
    assert '"level": "error"' not in first.text() + other.text()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_node_of_a_worker_that_failed_ends_as_if_it_was_told_to(workers: Workers) -> None:
    """Whatever starts processes again when they fail starts all of its nodes again, not only the one that fell."""
    common = ["--tp-size", "3", "--nnodes", "3", "--dist-init-addr", f"127.0.0.1:{free_port()}"]
    nodes = [workers.start(*common, "--node-rank", str(rank)) for rank in range(3)]
    for node in nodes:
        node.wait_ready()
    third = ranks_of(nodes[0])[2]["pid"]
    os.kill(third, signal.SIGKILL)
    assert [node.popen.wait(20) for node in nodes] == [1, 1, 1]
    for node in nodes:
        assert f"Rank 2 (pid {third} on node 2) was ended by SIGKILL." in node.text(), node.text()
    common[-1] = f"127.0.0.1:{free_port()}"
    nodes = [workers.start(*common, "--node-rank", str(rank)) for rank in range(3)]
    for node in nodes:
        node.wait_ready()
    nodes[1].popen.send_signal(signal.SIGTERM)
    assert [node.popen.wait(20) for node in nodes] == [1, 0, 1]
    for node in (nodes[0], nodes[2]):
        assert "on node 1) was told to end, with its node." in node.text(), node.text()


def test_a_model_that_cannot_be_spread_so_is_refused_with_what_fits(workers: Workers) -> None:
    node = workers.start("--tp-size", "7")
    assert node.popen.wait(WAIT_S) == 2
    (error,) = [line for line in node.text().splitlines() if line.startswith("error:")]
    assert "--tp-size = 7" in error and "use 1, 2, 3, 4, 5, 6 ranks" in error
    assert "rank_started" not in node.text()  # a hundred of them would fill the memory first
