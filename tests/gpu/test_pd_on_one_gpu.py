"""Prefill and decode on one GPU against a unified worker on it: the same tokens, and a word on where the KV passed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from pd_http import get, post

# Two workers share the GPU, and a unified one has the same share, so that all use the same pool.
SHARED = ["--device", "cuda", "--mem-fraction-static", "0.2", "--max-total-tokens", "32768", "--random-seed", "7"]
PROMPTS = [
    "The capital of France is",
    "Count: " + " ".join(str(number) for number in range(160)),  # crosses a chunk of 512 tokens
    "List three colours and say why you like each of them." * 12,
]


def tokens(url: str, prompt: str, **sampling: Any) -> list[int]:
    wanted = {"max_new_tokens": 64, "ignore_eos": True, "temperature": 0.0, **sampling}
    status, answer = post(url + "/generate", {"text": prompt, "sampling_params": wanted})
    assert status == 200, answer
    return answer["output_ids"]


def answers(cluster: Any) -> list[list[int]]:
    """One request at a time, since a batch's size may change how its sums round."""
    greedy = [tokens(cluster.url, prompt) for prompt in PROMPTS]
    drawn = [tokens(cluster.url, prompt, temperature=0.8, top_p=0.9, sampling_seed=11) for prompt in PROMPTS]
    return greedy + drawn


@pytest.mark.timeout(400)
@pytest.mark.parametrize("transport", ["tcp", "shm", "mooncake"])
def test_pd_gives_the_unified_workers_tokens(make_cluster, tmp_path: Path, transport: str) -> None:
    if transport == "mooncake":
        pytest.importorskip("mooncake.engine", reason="needs a Mooncake build", exc_type=ImportError)
    with make_cluster(tmp_path / "unified", SHARED, unified=1) as cluster:
        expected = answers(cluster)
        info = get(cluster.processes["unified-0"].url + "/server_info")
        assert info["executor"]["executor"] == "cuda" and "CUDA graphs" in info["executor"]["reason"], info["executor"]
    arguments = [*SHARED, "--disaggregation-transfer-backend", transport]
    with make_cluster(tmp_path / "pair", arguments, prefill=1, decode=1) as cluster:
        assert answers(cluster) == expected
        cluster.wait_idle()
        for name in ("prefill-0", "decode-0"):
            notice = get(cluster.processes[name].url + "/server_info")["transfer"]["notice"]
            assert ("staged through the host" in notice) == (transport != "mooncake" or _is_for_cpus()), notice


def _is_for_cpus() -> bool:
    try:
        return bool(version("mooncake-transfer-engine-non-cuda"))
    except PackageNotFoundError:
        return False
