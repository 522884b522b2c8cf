"""Other people's load clients behind the routers: all requests are answered, and the times make sense."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from client_fleet import FRONTS, Fleet, Front
from load_clients import Measured, aiperf, genai_bench, guidellm, sglang_bench, tokenizer_of, vllm_bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROMPTS, TOKENS = 4, 6
RANDOM = ("--dataset-name", "random-ids", "--random-input-len", "24", "--random-range-ratio", "1.0")
LENGTHS = ("--random-output-len", str(TOKENS), "--num-prompts", str(PROMPTS))
SHARED = ("--dataset-name", "generated-shared-prefix", "--gsp-num-groups", "2", "--gsp-prompts-per-group", "2")
SHARED_LENGTHS = ("--gsp-system-prompt-len", "64", "--gsp-question-len", "16", "--gsp-output-len", str(TOKENS))


def check(said: Measured, most: float = PROMPTS) -> None:
    assert PROMPTS <= said.completed <= most, said
    assert (said.failed, said.output_tokens) == (0, said.completed * TOKENS), said
    assert 0 < said.itl_s < 30, said
    assert 0 < said.ttft_s < 60, said


@pytest.fixture
def tokenizer(clients_fleet: Fleet) -> str:
    return tokenizer_of(clients_fleet.worker("prefill-0"))


@pytest.mark.parametrize("backend", ["sglang", "sglang-oai", "sglang-oai-chat"])
def test_sglangs_client(front: Front, tmp_path: Path, tokenizer: str, backend: str) -> None:
    given = ("--tokenize-prompt",) if backend == "sglang" else ()
    named = () if front.name == "bundled" else ("--tokenizer", tokenizer)  # the others have no /model_info
    with front.expecting(f"SGLang's client, {backend}"):
        check(sglang_bench(front.url, tmp_path, backend, *RANDOM, *LENGTHS, *given, *named))


def test_sglangs_client_with_shared_prefixes_after_a_flush(front: Front, tmp_path: Path, tokenizer: str) -> None:
    named = () if front.name == "bundled" else ("--tokenizer", tokenizer)
    check(sglang_bench(front.url, tmp_path, "sglang", *SHARED, *SHARED_LENGTHS, "--flush-cache", *named))


@pytest.mark.parametrize("client", [vllm_bench, guidellm, aiperf, genai_bench])
@pytest.mark.parametrize("name", FRONTS)
def test_clients_of_others(clients_fleet: Fleet, tmp_path: Path, tokenizer: str, client, name: str) -> None:
    # genai-bench looks once a second whether enough have been answered, and asks on until then.
    most = math.inf if client is genai_bench else PROMPTS
    check(client(clients_fleet.fronts[name].url, tmp_path, tokenizer, PROMPTS, TOKENS), most)
    clients_fleet.cluster.wait_idle()
