"""Greedy output of PD equals the unified worker's, and transformers', token for token.

In float32 with float32 KV and a chunk of 64, for prompts around the borders of page and chunk. transformers loads the
same GGUF file by itself. Against transformers a difference passes only where its two best logits are closer than 1e-4;
between PD and unified none does.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE, CHUNK, OUTPUT = 16, 64, 64
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
def expected(prompts, smollm2_gguf: Path) -> Iterator[dict[int, tuple[list[int], list[float]]]]:
    """Transformers' greedy output and, for each token, the gap between its two best logits."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        str(smollm2_gguf.parent), gguf_file=smollm2_gguf.name, dtype=torch.float32
    ).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 2
    results = {}
    with torch.inference_mode():
        for length, ids in prompts.items():
            made = model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones((1, length), dtype=torch.long),
                max_new_tokens=OUTPUT,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
            best = torch.stack(made.logits)[:, 0].topk(2, dim=-1).values
            results[length] = (made.sequences[0, length:].tolist(), (best[:, 0] - best[:, 1]).tolist())
    yield results


def get_json(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


def run_all(cluster, prompts) -> dict[int, list[int]]:
    outputs = {}
    for length, ids in prompts.items():
        outputs[length] = cluster.generate(ids, temperature=0, max_new_tokens=OUTPUT, ignore_eos=True)
        assert len(outputs[length]) == OUTPUT
    return outputs


@pytest.fixture(scope="module")
def unified(make_cluster, prompts, tmp_path_factory) -> dict[int, list[int]]:
    """The unified worker's outputs."""
    with make_cluster(tmp_path_factory.mktemp("unified"), EXACT, unified=1) as one:
        outputs = run_all(one, prompts)
        one.wait_idle()
    return outputs


@pytest.fixture(scope="module", params=["mooncake", "tcp"])
def pair(request, make_cluster, tmp_path_factory):
    """A 1P1D deployment over the transport."""
    arguments = [*EXACT, "--disaggregation-transfer-backend", request.param]
    with make_cluster(tmp_path_factory.mktemp(request.param), arguments, prefill=1, decode=1) as made:
        from_worker = get_json(made.processes["prefill-0"].url + "/server_info")["transfer"]
        assert (from_worker["backend"], from_worker["notice"]) == (request.param, "")
        yield made


def test_unified_equals_transformers(unified, expected) -> None:
    for length, (tokens, gaps) in expected.items():
        for index, (ours, theirs) in enumerate(zip(unified[length], tokens, strict=True)):
            if ours != theirs:
                assert gaps[index] < 1e-4, f"prompt of {length}: token {index} differs, gap {gaps[index]}"
                break  # from here on the two continue different texts


def test_pd_equals_unified_and_moves_exactly_the_pages_of_the_prompt(pair, unified, prompts) -> None:
    for length, ids in prompts.items():
        before = {
            name: pair.metric("prefill-0", f"pdpanel_kv_{name}_total") if length != LENGTHS[0] else 0.0
            for name in ("bytes", "pages", "writes")
        }
        assert pair.generate(ids, temperature=0, max_new_tokens=OUTPUT, ignore_eos=True) == unified[length]
        pages, chunks = -(-length // PAGE), -(-length // CHUNK)
        moved = {name: pair.metric("prefill-0", f"pdpanel_kv_{name}_total") - before[name] for name in before}
        assert moved["pages"] == pages
        assert moved["bytes"] == pages * PAGE * BYTES_PER_TOKEN
        assert moved["writes"] <= chunks + 1, "one contiguous grant takes at most one write per chunk and one more"
    assert pair.metric("decode-0", "pdpanel_kv_bytes_total") == pair.metric("prefill-0", "pdpanel_kv_bytes_total")
    pair.wait_idle()
