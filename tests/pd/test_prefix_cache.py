"""A prompt whose beginning was computed before: the same tokens, fewer of them computed, and a flush that is one.

In float32 with float32 KV, as in test_equality.py; prompts and hits end around the borders of page and chunk.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from pd_http import get, post

PAGE, CHUNK, OUTPUT = 16, 64, 6
EXACT = ["--dtype", "float32", "--kv-cache-dtype", "float32", "--chunked-prefill-size", str(CHUNK)]
EXACT += ["--max-total-tokens", "512"]
# Tokens that the prompt has in common with an earlier one, and its tokens in all.
CASES = (
    (PAGE, 2 * PAGE),
    (CHUNK - PAGE, CHUNK + 1),
    (CHUNK + PAGE + 3, 2 * CHUNK),
    (2 * CHUNK, 2 * CHUNK),
)
MORE_CASES = (
    (PAGE, PAGE),
    (PAGE, PAGE + 1),
    (CHUNK - 1, CHUNK),
    (CHUNK, CHUNK + 1),
    (CHUNK + 1, CHUNK + PAGE + 1),
    (2 * CHUNK + 3 * PAGE, 3 * CHUNK + 5),
    (3 * CHUNK + 5, 3 * CHUNK + 5),
)

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def ids(smollm2) -> list[int]:
    from pdpanel.engine.text.tokenizer import Tokenizer

    text = "".join(f"On day {day}, {day * 37 % 11} ships left for port {day * 13 % 29}. " for day in range(120))
    return Tokenizer.load(smollm2.tokenizer_json).encode(text)


@pytest.fixture(scope="module")
def cluster(make_cluster, tmp_path_factory):
    """A pair behind a router and, without one, a unified worker; one thread a worker."""
    with make_cluster(tmp_path_factory.mktemp("prefix"), EXACT, prefill=1, decode=1) as made:
        made.worker("unified-0", "null", EXACT).wait_ready("/health")
        yield made
        made.wait_idle()


@pytest.fixture
def pair(cluster):
    """The cluster with nothing cached."""
    flush(cluster)
    return cluster


def flush(cluster) -> None:
    cluster.wait_idle()
    status, answer = post(cluster.processes["prefill-0"].url + "/flush_cache", {})
    assert status == 200, answer
    assert "Cache flushed." in answer["message"]


def generate(url: str, ids: list[int], tokens: int = 1) -> tuple[list[int], int]:
    """Returns the output ids and the prompt tokens that were cached."""
    sampling = {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True}
    status, answer = post(url + "/generate", {"input_ids": ids, "sampling_params": sampling})
    assert status == 200, answer
    return answer["output_ids"], answer["meta_info"]["cached_tokens"]


def longest_hit(common: int, total: int) -> int:
    """Whole pages that are known, up to the last chunk, or to a page before the prompt's end."""
    return min(common, max((total - 1) // CHUNK * CHUNK, total - PAGE)) // PAGE * PAGE


def counted(cluster) -> tuple[float, float]:
    """Returns prefill's prompt tokens, and those of them that were cached."""
    names = ("sglang:prompt_tokens_total", "sglang:cached_tokens_total")
    prompt, cached = (cluster.metric("prefill-0", name) for name in names)
    return prompt, cached


@pytest.mark.parametrize(
    ("common", "total"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE_CASES)]
)
def test_a_hit_gives_the_tokens_of_a_cold_start_and_of_unified(pair, ids, common: int, total: int) -> None:
    prompt = ids[common : common + total]
    earlier = prompt if common == total else [*prompt[:common], prompt[common] + 1, *ids[:PAGE]]
    cold = generate(pair.url, prompt, OUTPUT)
    flush(pair)
    assert generate(pair.url, earlier)[1] == cold[1] == 0
    before = counted(pair)
    warm, cached = generate(pair.url, prompt, OUTPUT)
    after = counted(pair)
    assert cached == longest_hit(common, total)
    assert (after[0] - before[0], after[1] - before[1]) == (total, cached)
    assert warm == cold[0] == generate(pair.processes["unified-0"].url, prompt, OUTPUT)[0]


def test_chat_usage_tells_what_was_cached_in_a_stream_and_without_one(pair) -> None:
    body = {"messages": [{"role": "user", "content": "Tell me of the river, the mill and the bridge."}]}
    body |= {"model": "SmolLM2-135M-Instruct", "max_tokens": 2, "temperature": 0}
    usages = [post(pair.url + "/v1/chat/completions", body)[1]["usage"] for _ in range(2)]
    told = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert told == [0, longest_hit(usages[0]["prompt_tokens"], usages[0]["prompt_tokens"])]
    assert told[1] > 0
    assert [usage["prompt_tokens"] for usage in usages] == [usages[0]["prompt_tokens"]] * 2


def test_what_many_ask_at_once_is_kept_once(pair, ids) -> None:
    """They start cold together; each page of the beginning is kept by the first that ends."""
    common = ids[: 3 * PAGE]
    prompts = [[*common, *ids[at : at + PAGE]] for at in (200, 300, 400)]
    with ThreadPoolExecutor(len(prompts)) as pool:
        together = [tokens for tokens, _ in pool.map(lambda prompt: generate(pair.url, prompt), prompts)]
    pair.wait_idle()
    assert pair.pages()["prefill-0"]["staging"]["cached"] == 3 + len(prompts)
    again = [generate(pair.url, prompt) for prompt in prompts]
    assert again == [(tokens, 3 * PAGE) for tokens in together]


def test_prompts_beyond_the_pool_push_out_what_was_used_longest_ago(pair, ids) -> None:
    prompts = [ids[at : at + 150] for at in (0, 150, 300, 450)]  # 10 pages each, and the pool has 32
    assert [generate(pair.url, prompt)[1] for prompt in prompts] == [0] * 4
    assert generate(pair.url, prompts[-1])[1] == 128
    assert generate(pair.url, prompts[0])[1] < 128
    pair.wait_idle()
    staging = pair.pages()["prefill-0"]["staging"]
    assert staging["free"] + staging["held"] + staging["quarantined"] + staging["cached"] == staging["total"]


def test_a_flush_forgets_and_frees_everything(pair, ids) -> None:
    generate(pair.url, ids[:100])
    pair.wait_idle()
    info = get(pair.processes["prefill-0"].url + "/server_info")
    assert info["pages"]["staging"]["cached"] == 6
    assert info["disable_radix_cache"] is False
    flush(pair)
    staging = pair.pages()["prefill-0"]["staging"]
    assert (staging["free"], staging["cached"]) == (staging["total"], 0)
    assert generate(pair.url, ids[:100])[1] == 0
