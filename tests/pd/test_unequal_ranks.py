"""Prefill and decode workers of different numbers of ranks, as processes: their tokens are those of a unified worker.

All workers check the pages that travel (PDPANEL_CHECK_PAGES), whatever the layouts on both sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cluster import Cluster, Process
from pd_http import free_port, get, post

PAGE, CHUNK, OUTPUT = 16, 64, 16
EXACT = ["--dtype", "float32", "--kv-cache-dtype", "float32", "--quantization", "none", "--page-size", str(PAGE)]
EXACT += ["--chunked-prefill-size", str(CHUNK), "--max-total-tokens", "2048", "--model-path", "random:llama-gqa"]
EXACT += ["--disaggregation-transfer-backend", "tcp"]
PROMPTS = [[16 + (7 * i * length) % 250 for i in range(length)] for length in (1, PAGE, CHUNK + 1, 3 * CHUNK + 5)]

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]  # test_parallel_equality is the short form
rooms = itertools.count(1)


class Workers:
    """A unified worker, and prefill and decode workers by their number of ranks."""

    def __init__(self, cluster: Cluster, sizes: tuple[int, ...]) -> None:
        self._cluster = cluster
        self.unified = cluster.spawn("unified", "launch_server", EXACT, free_port())
        self.prefill = {size: self._half("prefill", size, free_port()) for size in sizes}
        self.decode = {size: self._half("decode", size, 0) for size in sizes}
        for process in cluster.processes.values():
            process.wait_ready("/health")

    def _half(self, role: str, size: int, bootstrap: int) -> Process:
        arguments = [*EXACT, "--disaggregation-mode", role, "--tp-size", str(size)]
        arguments += ["--disaggregation-bootstrap-port", str(bootstrap)] if bootstrap else []
        process = self._cluster.spawn(f"{role}-of-{size}", "launch_server", arguments, free_port())
        process.bootstrap = bootstrap
        return process

    def expected(self, ids: list[int]) -> list[int]:
        return self._ask(self.unified, ids)

    def generate(self, prefill: int, decode: int, ids: list[int]) -> list[int]:
        """Returns what decode answers; prefill must agree about the first token."""
        first = self.prefill[prefill]
        room = {"bootstrap_host": "127.0.0.1", "bootstrap_port": first.bootstrap, "bootstrap_room": next(rooms)}
        with ThreadPoolExecutor(1) as beside:
            answer = beside.submit(self._ask, first, ids, **room)
            found = self._ask(self.decode[decode], ids, **room)
            assert answer.result()[:1] == found[:1]
        return found

    def _ask(self, process: Process, ids: list[int], **more: Any) -> list[int]:
        sampling = {"temperature": 0.0, "max_new_tokens": OUTPUT, "ignore_eos": True}
        status, answer = post(process.url + "/generate", {"input_ids": ids, "sampling_params": sampling, **more})
        assert status == 200, (process.name, answer, process.tail())
        return answer["output_ids"]

    def check(self) -> None:
        """Nothing is held any more, and nothing arrived damaged."""
        self._cluster.wait_idle()
        for process in self._cluster.processes.values():
            assert "damaged_pages" not in process.tail()


def started(tmp_path_factory: pytest.TempPathFactory, sizes: tuple[int, ...]) -> Iterator[Workers]:
    folder = tmp_path_factory.mktemp("ranks")
    cluster = Cluster(folder, {"PDPANEL_CHECK_PAGES": "1", "PDPANEL_CACHE_DIR": str(folder / "cache")})
    try:
        yield Workers(cluster, sizes)
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    yield from started(tmp_path_factory, (1, 2))


@pytest.mark.parametrize(("prefill", "decode"), [(2, 1), (1, 2), (1, 1), (2, 2)])
def test_tokens_are_those_of_a_unified_worker(workers: Workers, prefill: int, decode: int) -> None:
    for ids in PROMPTS:
        assert workers.generate(prefill, decode, ids) == workers.expected(ids), len(ids)
    workers.check()


def test_the_writes_of_all_ranks_are_counted(workers: Workers) -> None:
    def writes() -> list[int]:
        return [rank["kv_writes"] for rank in get(workers.prefill[2].url + "/server_info")["ranks"]]

    before = writes()
    workers.generate(2, 1, PROMPTS[-1])
    assert all(now > then for then, now in zip(before, writes(), strict=True))


@pytest.mark.parametrize(("prefill", "decode"), [(3, 1), (2, 4)])
def test_tokens_of_more_ranks(tmp_path_factory: pytest.TempPathFactory, prefill: int, decode: int) -> None:
    for several in started(tmp_path_factory, tuple({prefill, decode})):
        for ids in PROMPTS:
            assert several.generate(prefill, decode, ids) == several.expected(ids), len(ids)
        several.check()
