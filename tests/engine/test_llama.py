"""The forward pass against transformers' own, on tiny random models; and that batches do not mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pdpanel.engine.config import read_environment
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.model.llama import Llama
from pdpanel.engine.model.store import resolve_model
from pdpanel.engine.model.weights import load_weights
from pdpanel.engine.pages import Run
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

SIZES: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "llama tied, llama3 rope": lambda: LlamaForCausalLM(
        LlamaConfig(**SIZES, tie_word_embeddings=True, rope_parameters=LLAMA3)
    ),
    "llama, one KV head": lambda: LlamaForCausalLM(LlamaConfig(**{**SIZES, "num_key_value_heads": 1})),
    "mistral, window": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=96)),
    "mistral tied, groups of three, wide heads": lambda: MistralForCausalLM(
        MistralConfig(**{**SIZES, "num_attention_heads": 6}, head_dim=24, tie_word_embeddings=True, sliding_window=None)
    ),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen2 tied, groups of one": lambda: Qwen2ForCausalLM(
        Qwen2Config(**{**SIZES, "num_key_value_heads": 4}, tie_word_embeddings=True)
    ),
    "qwen3, wide heads": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=32)),
    "qwen3 tied, window in one layer": lambda: Qwen3ForCausalLM(
        Qwen3Config(
            **{**SIZES, "num_key_value_heads": 4},
            head_dim=16,
            tie_word_embeddings=True,
            use_sliding_window=True,
            sliding_window=96,
            max_window_layers=2,
        )
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(our model, its shape, transformers' model of the same files)."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(3)
    made = MODELS[request.param]()
    for parameter in made.parameters():  # the default initialisation makes all logits alike
        parameter.data.normal_(0, 0.2)
    made.save_pretrained(folder / "m")
    _make_tokenizer(folder / "m")
    environment = read_environment({"PDPANEL_CACHE_DIR": str(folder / "cache")})
    resolved = resolve_model(folder / "m", environment)
    ours = Llama(resolved.shape, load_weights(resolved.directory, resolved.shape), 512)
    theirs = AutoModelForCausalLM.from_pretrained(folder / "m", dtype=torch.float32).eval()
    return ours, resolved.shape, theirs


def _make_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE(vocab={str(i): i for i in range(256)}, merges=[])).save(str(folder / "tokenizer.json"))


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def cache(shape, dtype=torch.float32) -> KVCache:
    return KVCache(shape, pages=32, page_size=16, dtype=dtype, staging=True)


def test_logits_equal_transformers_in_chunks_and_token_by_token(model) -> None:
    ours, shape, theirs = model
    ids = torch.randint(0, 256, (75,)).tolist()
    expected = theirs(torch.tensor([ids])).logits[0]
    kv, slot = cache(shape), 48
    for start, stop in ((0, 32), (32, 64), (64, 70), (70, 71), (71, 72)):
        logits = ours.forward([TokenSpan(ids[start:stop], start, slot, True)], kv)
        torch.testing.assert_close(logits[0], expected[stop - 1], atol=2e-4, rtol=2e-4)


def test_greedy_tokens_are_those_of_transformers(model) -> None:
    ours, shape, theirs = model
    ids = torch.randint(0, 256, (30,), generator=torch.Generator().manual_seed(5)).tolist()
    theirs.generation_config.update(eos_token_id=None, pad_token_id=0)
    expected = theirs.generate(torch.tensor([ids]), max_new_tokens=40, do_sample=False)[0].tolist()
    kv, tokens, start = cache(shape), list(ids), 0
    while len(tokens) < len(expected):
        logits = ours.forward([TokenSpan(tokens[start:], start, 32, True)], kv)
        start = len(tokens)
        tokens.append(int(logits[0].argmax()))
    assert tokens == expected


def test_a_mixed_batch_gives_each_sequence_its_own_logits(model) -> None:
    ours, shape, theirs = model
    prompts = [torch.randint(0, 256, (n,)).tolist() for n in (40, 7, 1)]
    slots = [0, 64, 96]
    kv = cache(shape)
    ours.forward([TokenSpan(prompts[0][:32], 0, slots[0], False)], kv)
    spans = [
        TokenSpan(prompts[0][32:], 32, slots[0], True),
        TokenSpan(prompts[1], 0, slots[1], True),
        TokenSpan(prompts[2], 0, slots[2], True),
    ]
    together = ours.forward(spans, kv)
    for row, prompt in enumerate(prompts):
        expected = theirs(torch.tensor([prompt])).logits[0, -1]
        torch.testing.assert_close(together[row], expected, atol=2e-4, rtol=2e-4)


def test_tokens_of_one_sequence_apart_are_computed_as_they_were_one_after_the_other(model) -> None:
    """What a continued answer rests on: with KV in 16 bits, a joined span rounds otherwise than single tokens did."""
    ours, shape, _ = model
    ids = torch.randint(0, 256, (52,)).tolist()
    made, apart, joined = (cache(shape, torch.bfloat16) for _ in range(3))
    for kv in (made, apart, joined):
        ours.forward([TokenSpan(ids[:20], 0, 0, False)], kv)
    one_by_one = [ours.forward([TokenSpan([ids[at]], at, 0, True)], made) for at in range(20, 52)]
    again = ours.forward([TokenSpan([ids[at]], at, 0, at == 51) for at in range(20, 52)], apart)
    ours.forward([TokenSpan(ids[20:], 20, 0, False)], joined)
    torch.testing.assert_close(again, one_by_one[-1], atol=1e-2, rtol=1e-2)
    differing = [(kv.slots[:, :, :, :52] != made.slots[:, :, :, :52]).sum().item() for kv in (apart, joined)]
    assert differing[0] * 4 < differing[1], differing


def test_a_neighbours_content_changes_no_bit(model) -> None:
    ours, shape, _ = model
    rows = []
    for filler in (5, 200):
        kv = cache(shape)
        ours.forward([TokenSpan([filler] * 20, 0, 64, False), TokenSpan([1, 2, 3, 4], 0, 0, False)], kv)
        rows.append(ours.forward([TokenSpan([filler], 20, 64, True), TokenSpan([9], 4, 0, True)], kv)[1])
    assert torch.equal(rows[0], rows[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kv_that_travelled_continues_with_the_same_bits(model, dtype: torch.dtype) -> None:
    """Slot -> staging pages -> another worker's staging -> its slot: the next token's logits are bit-equal."""
    ours, shape, _ = model
    ids = torch.randint(0, 256, (37,)).tolist()
    here, there = cache(shape, dtype), cache(shape, dtype)
    ours.forward([TokenSpan(ids[:-1], 0, 32, False)], here)
    sent, received = (Run(4, 2), Run(9, 1)), (Run(0, 1), Run(20, 2))
    here.export_pages(2, sent)
    for source, target in zip((4, 5, 9), (0, 20, 21), strict=True):
        there.staging[target] = here.staging[source]
    there.import_pages(received, 5)
    at_home = ours.forward([TokenSpan(ids[-1:], 36, 32, True)], here)
    away = ours.forward([TokenSpan(ids[-1:], 36, 80, True)], there)
    assert torch.equal(at_home, away)


def test_a_moved_slot_continues_with_the_same_bits(model) -> None:
    ours, shape, _ = model
    kv = cache(shape)
    ids = list(range(1, 40))
    ours.forward([TokenSpan(ids, 0, 16, False)], kv)
    before = ours.forward([TokenSpan([7], 39, 16, True)], kv)
    kv.move(1, 2, 39)  # the ranges overlap
    after = ours.forward([TokenSpan([7], 39, 32, True)], kv)
    assert torch.equal(before, after)
