"""Greedy output is the same in every topology, token for token, and that of transformers: float32 on real processes.

Ranks add their parts of a sum in an order of their own, so that a difference passes where transformers' two best logits
are closer than 1e-4. Prompts lie around the borders of page and chunk, and are sent one by one and all at once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from cluster import Cluster
from greedy_reference import Reference, greedy_reference, random_prompts
from pd_http import get
from spread_cluster import Pairing, spread_clusters

PAGE, CHUNK, OUTPUT = 16, 64, 24
LENGTHS = (1, PAGE, PAGE + 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5)
FLAGS = ["--dtype", "float32", "--kv-cache-dtype", "float32", "--chunked-prefill-size", str(CHUNK)]
FLAGS += ["--max-total-tokens", "2048", "--disaggregation-transfer-backend", "tcp"]

pytestmark = pytest.mark.timeout(400)


def tp(size: int) -> list[str]:
    return ["--tp-size", str(size)]


GROUPS = [*tp(2), "--attn-dp-size", "2"]
QUICK = {"2-1": Pairing(tp(2), tp(1)), "1-2": Pairing(tp(1), tp(2))}
SLOW = {
    "unified": Pairing(tp(1)),
    "unified 2": Pairing(tp(2)),
    "unified, 2 groups": Pairing(GROUPS),
    "1-1": Pairing(tp(1), tp(1)),
    "3-1": Pairing(tp(3), tp(1)),
    "2-4": Pairing(tp(2), tp(4)),
    "2 groups-2 groups": Pairing(GROUPS, GROUPS),
    "2 groups-1": Pairing(GROUPS, tp(1)),
    "2-2 groups": Pairing(tp(2), GROUPS),
    "2 groups of 2-3": Pairing([*tp(4), "--dp-size", "2", "--enable-dp-attention"], tp(3)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of random weights with 12 heads, each with KV of its own."""
    from pdpanel.engine.model.random_models import write_random_model

    return write_random_model(tmp_path_factory.mktemp("model") / "llama", "llama-12h", seed=7)


@pytest.fixture(scope="module")
def expected(folder: Path) -> Reference:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return greedy_reference(model, random_prompts(LENGTHS), OUTPUT)


def ask(cluster: Cluster, prompts: list[list[int]], at_once: int) -> list[list[int]]:
    with ThreadPoolExecutor(at_once) as pool:
        greedy = {"temperature": 0, "max_new_tokens": OUTPUT, "ignore_eos": True}
        return list(pool.map(lambda prompt: cluster.generate(prompt, **greedy), prompts))


def check(cluster: Cluster, name: str, expected: Reference) -> None:
    """One by one and all at once; then every page is free, whatever the groups."""
    expected.check(name, ask(cluster, expected.prompts, 1))
    expected.check(f"{name}, all at once", ask(cluster, expected.prompts, len(LENGTHS)))
    cluster.wait_idle()


@pytest.fixture(scope="module")
def quick(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    with spread_clusters(tmp_path_factory.mktemp("quick"), str(folder), FLAGS, QUICK) as clusters:
        yield clusters


@pytest.mark.parametrize("name", QUICK)
def test_unequal_halves_say_what_transformers_says(quick: dict[str, Cluster], expected: Reference, name: str) -> None:
    check(quick[name], name, expected)


@pytest.mark.parametrize("name", QUICK)
def test_each_byte_of_the_kv_moves_once(quick: dict[str, Cluster], expected: Reference, name: str) -> None:
    """However the heads are cut: what is sent is what a page holds, and decode is told the same."""
    cluster = quick[name]
    names = ("bytes", "pages", "writes")
    cluster.generate(expected.prompts[0], temperature=0, max_new_tokens=2, ignore_eos=True)  # counters begin with it
    before = {each: cluster.metric("prefill-0", f"pdpanel_kv_{each}_total") for each in names}
    longest = [(token + 1) % 272 for token in expected.prompts[-1]]  # nothing of it is cached
    cluster.generate(longest, temperature=0, max_new_tokens=2, ignore_eos=True)
    cluster.wait_idle()
    moved = {each: cluster.metric("prefill-0", f"pdpanel_kv_{each}_total") - before[each] for each in names}
    config = get(cluster.processes["prefill-0"].url + "/server_info")
    assert moved["bytes"] == -(-len(longest) // PAGE) * page_bytes(cluster), config["transfer"]
    chunks = -(-len(longest) // CHUNK)
    assert moved["writes"] <= 2 * (chunks + 1), "two ranks on the one side: twice the writes of one"
    assert cluster.metric("decode-0", "pdpanel_kv_bytes_total") == cluster.metric("prefill-0", "pdpanel_kv_bytes_total")


def page_bytes(cluster: Cluster) -> int:
    import json

    config = json.loads((model_of(cluster) / "config.json").read_text())
    return 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * PAGE * config["head_dim"] * 4


def model_of(cluster: Cluster) -> Path:
    return Path(get(cluster.processes["prefill-0"].url + "/model_info")["model_path"])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_every_topology_says_what_transformers_says(
    folder: Path, tmp_path: Path, expected: Reference, name: str
) -> None:
    with spread_clusters(tmp_path, str(folder), FLAGS, {name: SLOW[name]}) as clusters:
        check(clusters[name], name, expected)


@pytest.mark.slow
def test_heads_that_do_not_divide(smollm2: Any, smollm2_gguf: Path, tmp_path: Path) -> None:
    """SmolLM2 has 3 KV heads: two ranks have two of them and one."""
    from pdpanel.engine.text.tokenizer import Tokenizer
    from transformers import AutoModelForCausalLM

    ids = Tokenizer.load(smollm2.tokenizer_json).encode(Path(__file__).read_text())
    prompts = [ids[length : 2 * length] for length in LENGTHS]
    model = AutoModelForCausalLM.from_pretrained(
        str(smollm2_gguf.parent), gguf_file=smollm2_gguf.name, dtype=torch.float32
    )
    expected = greedy_reference(model, prompts, OUTPUT)
    wanted = {"2-1": Pairing(tp(2), tp(1))}
    with spread_clusters(tmp_path, "smollm2-135m-instruct", FLAGS, wanted) as clusters:
        check(clusters["2-1"], "SmolLM2, 2-1", expected)
