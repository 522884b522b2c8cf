"""Log probabilities against transformers' logits, through the step loop, on a tiny random model."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence as Many
from typing import Any

import pytest
import torch
from pdpanel.engine.actions import Emit
from pdpanel.engine.config import read_environment
from pdpanel.engine.kv import KVCache
from pdpanel.engine.lifecycle import UNIFIED
from pdpanel.engine.logprobs import score, scored_temperature
from pdpanel.engine.model.llama import Llama
from pdpanel.engine.model.store import resolve_model
from pdpanel.engine.model.weights import load_weights
from pdpanel.engine.pages import PagePool
from pdpanel.engine.peer.messages import Commit, decode_message, encode_message
from pdpanel.engine.request import GenerateRequest, LogprobParams, SamplingParams, TokenLogprobs
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.statistics import EngineStatistics
from pdpanel.engine.step_loop import StepLoop
from pdpanel.engine.unified_core import UnifiedCore
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

SIZES: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
LOWEST = torch.finfo(torch.float32).min


class Listener:
    """Collects what the loop says."""

    def __init__(self) -> None:
        self.emits: list[Emit] = []
        self.changed = threading.Condition()
        self.reason = ""

    def emit(self, emits: Many[Emit]) -> None:
        with self.changed:
            self.emits += emits
            self.changed.notify_all()

    def export(self, action: Any) -> None:
        raise AssertionError("a unified worker exports nothing")

    def send(self, action: Any) -> None:
        raise AssertionError("a unified worker sends nothing")

    def fatal(self, reason: str) -> None:
        with self.changed:
            self.reason = reason
            self.changed.notify_all()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    """Our model, its shape, and transformers' of the same files."""
    from tokenizers import Tokenizer, models

    folder = tmp_path_factory.mktemp("model") / "m"
    torch.manual_seed(3)
    made = LlamaForCausalLM(LlamaConfig(**SIZES))
    for parameter in made.parameters():
        parameter.data.normal_(0, 0.2)
    made.save_pretrained(folder)
    Tokenizer(models.BPE(vocab={str(i): i for i in range(256)}, merges=[])).save(str(folder / "tokenizer.json"))
    resolved = resolve_model(folder, read_environment({"PDPANEL_CACHE_DIR": str(folder.parent / "cache")}))
    ours = Llama(resolved.shape, load_weights(resolved.directory, resolved.shape), 512)
    return ours, resolved.shape, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def run(model: Any, requests: list[GenerateRequest], chunk: int = 32) -> dict[int, list[Emit]]:
    """Returns the events of each request, all run together on a unified worker."""
    ours, shape, _ = model
    listener = Listener()
    pool = PagePool(32)
    core = UnifiedCore(Schedule(pool, page_size=16, chunk_tokens=chunk, max_running=8, reserve_tokens=16))
    kv = KVCache(shape, pages=32, page_size=16, dtype=torch.float32, staging=False)
    loop = StepLoop(core, ours, kv, listener, EngineStatistics)
    loop.start()
    try:
        for key, request in enumerate(requests):
            limit = len(request.prompt_ids) + (request.sampling.max_new_tokens or 0)
            prompt = list(request.prompt_ids)
            one = Sequence(key, request, UNIFIED, 5, limit, frozenset(), prompt, UNIFIED.start)
            loop.post(lambda now, one=one: core.submit(one, now))
        with listener.changed:
            ended = lambda: sum(e.finish is not None for e in listener.emits) == len(requests) or listener.reason  # noqa: E731
            assert listener.changed.wait_for(ended, 30) and not listener.reason
    finally:
        loop.stop()
    return {key: [emit for emit in listener.emits if emit.key == key] for key in range(len(requests))}


def prompt(length: int, seed: int = 1) -> tuple[int, ...]:
    return tuple(torch.randint(0, 256, (length,), generator=torch.Generator().manual_seed(seed)).tolist())


@pytest.mark.parametrize("start", [0, 1, 31, 32, 33, 69, 70])
def test_scores_are_those_of_transformers_logits(model: Any, start: int) -> None:
    """Prompts cross chunks of 32 tokens and blocks of rows; another request shares the steps."""
    wanted = LogprobParams(top=3, token_ids=(7, 9), start=start)
    asking = GenerateRequest("a", prompt(70), SamplingParams(4, temperature=0), logprobs=wanted)
    other = GenerateRequest("b", prompt(40, 2), SamplingParams(6, temperature=0))
    events = run(model, [other, asking])[1]
    assert all(emit.scores is None for emit in run(model, [other])[0])
    tokens = [token for emit in events for token in emit.token_ids]
    with torch.inference_mode():
        logits = model[2](torch.tensor([[*asking.prompt_ids, *tokens]])).logits[0]
    expected = torch.log_softmax(logits, dim=-1)
    first = events[0].scores
    assert first is not None
    assert len(first.prompt) == max(0, 69 - start)
    for place, own in enumerate(first.prompt, start + 1):
        assert own.logprob == pytest.approx(expected[place - 1, asking.prompt_ids[place]].item(), abs=2e-3)
    for place, (emit, token) in enumerate(zip(events, tokens, strict=True), 70):
        assert emit.scores is not None
        [own] = emit.scores.tokens
        row = expected[place - 1]
        assert own.logprob == pytest.approx(row[token].item(), abs=2e-3)
        assert [value for value, _ in own.top] == pytest.approx(row.topk(3).values.tolist(), abs=2e-3)
        assert own.top[0][1] == token  # greedy takes the likeliest
        assert [value for value, _ in own.named] == pytest.approx(row[[7, 9]].tolist(), abs=2e-3)
    assert all(not emit.scores.prompt for emit in events[1:] if emit.scores)


@pytest.mark.parametrize("sampling", [SamplingParams(12, temperature=0), SamplingParams(12, temperature=0.9, seed=4)])
def test_tokens_are_the_same_with_and_without_scores(model: Any, sampling: SamplingParams) -> None:
    plain = GenerateRequest("a", prompt(45), sampling)
    scored = GenerateRequest("a", prompt(45), sampling, logprobs=LogprobParams(5, (1,), 0))
    said = [[token for emit in run(model, [one])[0] for token in emit.token_ids] for one in (plain, scored)]
    assert said[0] == said[1]


def test_a_sampled_token_is_scored_after_temperature() -> None:
    logits = torch.tensor([[1.0, 2.0, -math.inf]])
    hot = SamplingParams(temperature=2.0, top_p=0.1)
    [own] = score(logits, [0], LogprobParams(top=3), scored_temperature(hot))
    assert own.logprob == pytest.approx(torch.log_softmax(torch.tensor([0.5, 1.0]), dim=0)[0].item())
    assert [token for _, token in own.top] == [1, 0, 2]
    assert own.top[2][0] == LOWEST  # JSON has no infinity
    assert math.isinf(logits[0, 2].item())


@pytest.mark.parametrize("params", [SamplingParams(temperature=0), SamplingParams(temperature=3.0, top_k=1)])
def test_a_greedy_token_is_scored_as_the_model_has_it(params: SamplingParams) -> None:
    assert scored_temperature(params) == 1.0


def test_what_is_no_number_is_the_lowest() -> None:
    [own] = score(torch.tensor([[float("nan"), 1.0]]), [0], LogprobParams(top=5))
    assert own.logprob == LOWEST and len(own.top) == 2


def test_the_first_tokens_scores_reach_decode_unchanged() -> None:
    own = TokenLogprobs(-0.1234567890123, ((-0.1234567890123, 5), (LOWEST, 7)), ((-3.5, 9),))
    frame = encode_message(Commit(1, 5, 2, 100, 3, logprobs=own))
    message = decode_message(frame)
    assert isinstance(message, Commit) and message.logprobs == own
    assert len(encode_message(Commit(1, 5, 2, 100, 3))) < len(frame)
