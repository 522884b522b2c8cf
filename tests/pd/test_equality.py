"""Greedy output of PD equals the unified worker's, and transformers', token for token.

In float32 with float32 KV and a chunk of 64, for prompts around the borders of page and chunk. transformers loads the
same GGUF file by itself. Against transformers a difference passes only where its two best logits are closer than 1e-4;
between PD and unified none does.
"""

from __future__ import annotations

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE, CHUNK, OUTPUT = 16, 64, 64
# What carries the KV, and how many of the prompts are tried with it, the longest and hardest first.
TRANSPORTS = {"mooncake": 8, "tcp": 8, "shm": 2, "nixl": 1}
LENGTHS = (1, PAGE - 1, PAGE, PAGE + 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5)
EXACT = ["--dtype", "float32", "--kv-cache-dtype", "float32", "--chunked-prefill-size", str(CHUNK)]
EXACT += ["--max-total-tokens", "2048"]
BYTES_PER_TOKEN = 46_080  # 2 (K, V) x 30 layers x 3 KV heads x 64 x 4 bytes
TEXT = """The Transfer Engine moves the key-value cache of a prompt from the worker that computed it to the worker that
goes on with it. A prompt is cut into chunks; while one chunk is computed, the finished pages of the one before are on
their way. In 1815, after 23 days, 7 ships left the harbour of Porto with 42 barrels each; nobody wrote down why. What
is the sum of 17 and 25? def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2). Every morning she
walked along the river, past the mill and the old stone bridge, and counted the herons standing in the shallow water.
"""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def prompts(smollm2) -> dict[int, list[int]]:
    """Prompt ids by length."""
    from pdpanel.engine.text.tokenizer import Tokenizer

    ids = Tokenizer.load(smollm2.tokenizer_json).encode(TEXT * 3)
    return {length: ids[length : 2 * length] for length in LENGTHS}


@pytest.fixture(scope="module")
def expected(prompts, smollm2_gguf: Path) -> dict[int, tuple[list[int], list[float]]]:
    """Transformers' greedy output and, for each token, the gap between its two best logits."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        str(smollm2_gguf.parent), gguf_file=smollm2_gguf.name, dtype=torch.float32
    ).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 2
    longest = max(prompts)
    ids = torch.tensor([[2] * (longest - length) + prompt for length, prompt in prompts.items()])
    mask = torch.tensor([[0] * (longest - length) + [1] * length for length in prompts])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two of them on cores that others use wait for each other most of the time
    with torch.inference_mode():
        made = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=OUTPUT,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    torch.set_num_threads(threads)
    best = torch.stack(made.logits, dim=1).topk(2, dim=-1).values  # [prompts, tokens, 2]
    tokens, gaps = made.sequences[:, longest:].tolist(), (best[..., 0] - best[..., 1]).tolist()
    return {length: (tokens[row], gaps[row]) for row, length in enumerate(prompts)}


def get_json(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


@dataclass(frozen=True)
class Outcome:
    """What one deployment said and moved.

    Attributes:
        sampled: of one prompt, with a temperature and a seed.
        moved: on prefill, by length of the prompt: bytes, pages and writes.
        received: bytes, on decode.
    """

    outputs: dict[int, list[int]]
    sampled: list[int]
    moved: dict[int, dict[str, float]]
    received: float
    transport: dict[str, Any]


def run_one(cluster, prompts: dict[int, list[int]], drawn: list[int]) -> Outcome:
    """Sends the prompts one by one, so that each runs in batches of one, and waits until all pages are free."""
    pair = "prefill-0" in cluster.processes
    names = ("bytes", "pages", "writes")
    outputs, moved = {}, {}
    before = dict.fromkeys(names, 0.0)
    for length, ids in prompts.items():
        outputs[length] = cluster.generate(ids, temperature=0, max_new_tokens=OUTPUT, ignore_eos=True)
        if pair:
            after = {name: cluster.metric("prefill-0", f"pdpanel_kv_{name}_total") for name in names}
            moved[length] = {name: after[name] - before[name] for name in names}
            before = after
    received = cluster.metric("decode-0", "pdpanel_kv_bytes_total") if pair else 0.0
    drawing = {"temperature": 1.5, "top_p": 0.95, "sampling_seed": 7, "max_new_tokens": 24, "ignore_eos": True}
    sampled = cluster.generate(drawn, **drawing)
    cluster.wait_idle()
    if not pair:
        return Outcome(outputs, sampled, {}, received, {})
    transport = get_json(cluster.processes["prefill-0"].url + "/server_info")["transfer"]
    return Outcome(outputs, sampled, moved, received, transport)


@pytest.fixture(scope="module")
def outcomes(make_cluster, prompts, tmp_path_factory) -> dict[str, Outcome]:
    """Of unified and of 1P1D over each transport; three deployments run side by side, one thread a worker."""
    roles = {"unified": {"unified": 1}, **{name: {"prefill": 1, "decode": 1} for name in TRANSPORTS}}

    def run(name: str) -> Outcome:
        transfer = [] if name == "unified" else ["--disaggregation-transfer-backend", name]
        with make_cluster(folders[name], [*EXACT, *transfer], **roles[name]) as cluster:
            tried = list(prompts)[-TRANSPORTS.get(name, len(prompts)) :]
            return run_one(cluster, {length: prompts[length] for length in tried}, prompts[PAGE + 1])

    folders = {name: tmp_path_factory.mktemp(name) for name in roles}
    with ThreadPoolExecutor(3) as pool:
        return dict(zip(roles, pool.map(run, roles), strict=True))


def test_unified_equals_transformers(outcomes, expected) -> None:
    for length, (tokens, gaps) in expected.items():
        ours = outcomes["unified"].outputs[length]
        assert len(ours) == OUTPUT
        differing = [index for index in range(OUTPUT) if ours[index] != tokens[index]]
        if differing:  # after the first one the two continue different texts
            assert gaps[differing[0]] < 1e-4, f"prompt of {length}: token {differing[0]}, gap {gaps[differing[0]]}"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_pd_equals_unified(outcomes, transport: str) -> None:
    ours = outcomes[transport].outputs
    assert len(ours) == TRANSPORTS[transport]
    assert ours == {length: outcomes["unified"].outputs[length] for length in ours}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_seed_draws_the_same_tokens_whoever_samples_them(outcomes, transport: str) -> None:
    """Sampling is keyed by (seed, position): prefill's one token and decode's others are unified's."""
    greedy = outcomes["unified"].outputs[PAGE + 1]
    assert outcomes[transport].sampled == outcomes["unified"].sampled
    assert outcomes["unified"].sampled != greedy[: len(outcomes["unified"].sampled)], "it did sample"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_exactly_the_pages_of_the_prompt_move_in_few_writes(outcomes, transport: str) -> None:
    outcome = outcomes[transport]
    assert (outcome.transport["backend"], outcome.transport["notice"]) == (transport, "")
    for length, moved in outcome.moved.items():
        pages, chunks = -(-length // PAGE), -(-length // CHUNK)
        assert moved["pages"] == pages
        assert moved["bytes"] == pages * PAGE * BYTES_PER_TOKEN
        assert moved["writes"] <= chunks + 1, "one contiguous grant takes at most one write per chunk and one more"
    assert outcome.received == sum(moved["bytes"] for moved in outcome.moved.values())
