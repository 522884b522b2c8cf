"""Two ranks as real processes over gloo: their tokens are the whole model's, and a killed rank is noticed at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.model.llama import Llama
from random_weights import SHAPES, random_weights
from torch._C._distributed_c10d import TCPStore

PROMPT = [5, 17, 200, 31, 8, 8, 120]
TOKENS = 12

RANK = """
import json, sys
import torch
from pdpanel.engine.errors import RankError
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.parallel.collective import open_collective
from pdpanel.engine.parallel.layout import ParallelSizes, shards_of
from pdpanel.engine.parallel.sharded import ShardedLlama
from random_weights import SHAPES, random_weights
from torch._C._distributed_c10d import TCPStore

torch.set_num_threads(1)
rank, port, count = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
tokens = json.loads(sys.argv[4])
store = TCPStore("127.0.0.1", port, wait_for_workers=False)
group = open_collective(store, "first", rank, 2, host="127.0.0.1", timeout_s=100)
shape = SHAPES["llama tied, heads of 9 and 3"]
executor = ShardedLlama(shape, random_weights(shape), shards_of(shape, ParallelSizes(2)), group, 256)
kv = KVCache(executor.part, pages=8, page_size=16, dtype=torch.float32, staging=False)
start = 0
with torch.inference_mode():
    for _ in range(count):
        logits = executor.forward([TokenSpan(tokens[start:], start, 16, True)], kv)
        start = len(tokens)
        chosen = logits.argmax(-1) if rank == 0 else torch.zeros(1, dtype=torch.int64)
        tokens.append(int(group.broadcast(chosen)[0]))
    print(json.dumps(tokens), flush=True)
    sys.stdin.readline()
    try:
        executor.forward([TokenSpan(tokens[start:], start, 16, True)], kv)
        print("computed", flush=True)
    except RankError as error:
        print(error, flush=True)
"""


@pytest.fixture(scope="module")
def ranks() -> Iterator[list[subprocess.Popen[str]]]:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    support = Path(__file__).resolve().parents[2] / "support"
    environment = {**os.environ, "PYTHONPATH": str(support), "OMP_NUM_THREADS": "1"}
    rest = [str(store.port), str(TOKENS), json.dumps(PROMPT)]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), *rest],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    yield started
    for process in started:
        with process:
            process.kill()


def test_two_processes_compute_the_whole_models_tokens_until_one_is_killed(ranks: list[subprocess.Popen[str]]) -> None:
    shape = SHAPES["llama tied, heads of 9 and 3"]
    alone = Llama(shape, random_weights(shape), 256)
    kv = KVCache(shape, pages=8, page_size=16, dtype=torch.float32, staging=False)
    expected, start = list(PROMPT), 0
    with torch.inference_mode():
        for _ in range(TOKENS):
            logits = alone.forward([TokenSpan(expected[start:], start, 16, True)], kv)
            start = len(expected)
            expected.append(int(logits[0].argmax()))
    first, second = ranks
    assert first.stdin and first.stdout and second.stdout
    assert json.loads(first.stdout.readline()) == expected
    assert json.loads(second.stdout.readline()) == expected
    second.kill()
    second.wait()
    first.stdin.write("\n")
    first.stdin.flush()
    assert "is gone" in first.stdout.readline()
    assert first.wait() == 0
