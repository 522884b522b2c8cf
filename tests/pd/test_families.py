"""PD equals unified for a model that is no Llama: normed heads of a size of their own, from random safetensors."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import cluster
from pdpanel.panel.bench.random_model import TOKENS, write_random_model

COMMON = ["--chunked-prefill-size", "64", "--max-total-tokens", "2048", "--disaggregation-transfer-backend", "tcp"]
EXACT = ["--dtype", "float32", "--kv-cache-dtype", "float32"]
USUAL: list[str] = []  # packed weights and KV of 16 bits, where this CPU has the kernels
LENGTHS = (1, 16, 65, 200)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def outputs(folder: Path, arguments: list[str], **roles: int) -> list[list[int]]:
    """Returns the greedy outputs of prompts of each length."""
    letters = list(TOKENS)
    with cluster(folder, arguments, {}, **roles) as made:
        prompts = [letters[length % 7 :][:length] for length in LENGTHS]
        found = [made.generate(ids, temperature=0, max_new_tokens=32, ignore_eos=True) for ids in prompts]
        made.wait_idle()
        return found


@pytest.mark.parametrize("mode", [pytest.param(EXACT, id="exact"), pytest.param(USUAL, id="usual")])
@pytest.mark.parametrize("shape", ["qwen3-tiny", "mistral-tiny"])
def test_pd_equals_unified(tmp_path: Path, shape: str, mode: list[str]) -> None:
    arguments = ["--model-path", str(write_random_model(tmp_path / shape, shape)), *COMMON, *mode]
    for name in ("unified", "pd"):
        (tmp_path / name).mkdir()
    unified = outputs(tmp_path / "unified", arguments, unified=1)
    assert [len(tokens) for tokens in unified] == [32] * len(LENGTHS)
    assert len(set(map(tuple, unified))) == len(LENGTHS), "each prompt has an answer of its own"
    assert outputs(tmp_path / "pd", arguments, prefill=1, decode=1) == unified
