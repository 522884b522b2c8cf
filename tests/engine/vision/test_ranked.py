"""Images on workers of several ranks and attention groups, as processes: answers are transformers'."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from pd_http import post
from spread_cluster import Pairing, spread_clusters
from tiny_llava import TinyLlava, data_url, picture, png

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FLAGS = [
    *("--dtype", "float32", "--kv-cache-dtype", "float32", "--chunked-prefill-size", "32", "--device", "cpu"),
    *("--disaggregation-transfer-backend", "shm"),
]
TWO, GROUPS = ["--tp-size", "2"], ["--tp-size", "2", "--attn-dp-size", "2"]
# So small that answers take the slots of others away, and their images are wanted again.
TIGHT = ["--max-total-tokens", "256", "--num-reserved-decode-tokens", "0", "--max-running-requests", "6"]
TOPOLOGIES = {"groups": Pairing(GROUPS), "2-groups": Pairing(TWO, [*GROUPS, *TIGHT])}


@pytest.fixture(scope="module")
def clusters(llava: TinyLlava, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Cluster]]:
    folder: Path = tmp_path_factory.mktemp("ranked")
    with spread_clusters(folder, str(llava.folder), FLAGS, TOPOLOGIES) as made:
        yield made


def ask(cluster: Cluster, prompt: list[int], images: list[Any], count: int) -> list[int]:
    body = {
        "input_ids": prompt,
        "image_data": [data_url(png(one)) for one in images],
        "sampling_params": {"temperature": 0, "max_new_tokens": count, "ignore_eos": True},
    }
    status, answer = post(cluster.processes["router"].url + "/generate", body)
    assert status == 200, answer
    return answer["output_ids"]


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_answers_are_transformers(clusters: dict[str, Cluster], llava: TinyLlava, name: str) -> None:
    cluster = clusters[name]
    prompt, pictures = [1, 50, 60, 319, 70, 319, 80, 90], [picture(1), picture(2, 30, 50)]
    assert ask(cluster, prompt, pictures, 10) == llava.greedy(prompt, pictures, 10)
    many = [([1, 50 + seed, 319, 60], [picture(200 + seed)]) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, cluster, prompt, images, 60) for prompt, images in many]
        found = [one.result() for one in asked]
    assert found == [llava.greedy(prompt, images, 60) for prompt, images in many]
