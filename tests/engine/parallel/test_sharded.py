"""A model that is spread over ranks gives the logits and tokens of the whole one, and of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pdpanel.engine.errors import RankError
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.model.llama import Llama
from pdpanel.engine.model.shape import ModelShape
from pdpanel.engine.model.weights import Weights
from pdpanel.engine.parallel.collective import Collective
from pdpanel.engine.parallel.layout import ParallelSizes, check_sizes, shards_of
from pdpanel.engine.parallel.sharded import ShardedLlama
from random_weights import SHAPES, random_weights
from rank_world import RankWorld
from torch import Tensor

PAGE = 16


def cache(shape: ModelShape) -> KVCache:
    return KVCache(shape, pages=24, page_size=PAGE, dtype=torch.float32, staging=False)


def ids(count: int, seed: int) -> list[int]:
    return torch.randint(0, 259, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


class Spread:
    """A model over all ranks of a world, each with KV memory of its own."""

    def __init__(self, world: RankWorld, shape: ModelShape, weights: Weights, sizes: ParallelSizes) -> None:
        shards = shards_of(shape, check_sizes(shape, sizes))
        self.world = world
        self.executors = world.run(lambda one: ShardedLlama(shape, weights, shards, one, 256))
        self.caches = [cache(executor.part) for executor in self.executors]
        for kv in self.caches:
            kv.slots.zero_()
        self.tapped: list[Tensor] = []

    def forward(self, spans: Sequence[TokenSpan]) -> Tensor:
        """Returns rank 0's logits; the others have none."""

        def work(one: Collective) -> Tensor:
            tap = self.tapped.append if one.rank == 0 else None
            return self.executors[one.rank].forward(spans, self.caches[one.rank], tap)

        first, *others = self.world.run(work)
        assert all(made.shape == (0, first.shape[1]) for made in others)
        return first


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[int, RankWorld]]:
    made = {size: RankWorld(size, real=False) for size in (1, 2, 3, 4)}
    yield made
    for world in made.values():
        world.close()


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)


def name_of(sizes: ParallelSizes) -> str:
    return f"{sizes.attn_dp} groups of {sizes.attn_tp}"


TOPOLOGIES = [ParallelSizes(1), ParallelSizes(2), ParallelSizes(3), ParallelSizes(4)]
GROUPED = [ParallelSizes(2, attn_dp=2), ParallelSizes(4, attn_dp=2), ParallelSizes(3, attn_dp=3)]


@pytest.mark.parametrize("sizes", [*TOPOLOGIES, *GROUPED], ids=name_of)
@pytest.mark.parametrize("name", SHAPES)
def test_prompts_and_decode_together_give_the_logits_of_the_whole_model(
    worlds: dict[int, RankWorld], name: str, sizes: ParallelSizes
) -> None:
    """Sequences of all groups, chunks and single tokens in one step; a group's places are those of its own memory."""
    shape = SHAPES[name]
    weights = random_weights(shape)
    spread, alone, kv = Spread(worlds[sizes.tp], shape, weights, sizes), Llama(shape, weights, 256), cache(shape)
    first, second, third = ids(40, 1), ids(23, 2), ids(9, 3)
    # Each sequence: (tokens, slot in the whole model's memory, group, slot there). Groups share places.
    groups = [sequence % sizes.attn_dp for sequence in range(3)]
    theirs, ours = (0, 64, 128), tuple(64 * (sequence // sizes.attn_dp) for sequence in range(3))
    steps: list[list[tuple[int, list[int], int, bool]]] = [
        [(0, first[:32], 0, False)],
        [(1, second[:20], 0, True), (0, first[32:], 32, True), (2, third[:1], 0, False)],
        [(0, [7], 40, True), (2, third[1:], 1, True), (1, second[20:21], 20, True)],
        [(1, second[21:], 21, False)],
        [(1, [9], 23, True), (0, [8], 41, False), (2, [5], 9, True)],
    ]
    with torch.inference_mode():
        for step in steps:
            whole = alone.forward([TokenSpan(t, start, theirs[s], out) for s, t, start, out in step], kv)
            spans = [TokenSpan(t, start, ours[s], out, groups[s]) for s, t, start, out in step]
            close(spread.forward(spans), whole)
        tapped: list[Tensor] = []
        last = [(2, [3], 10, True), (0, [4, 5], 42, True)]
        alone.forward([TokenSpan(t, start, theirs[s], out) for s, t, start, out in last], kv, tapped.append)
        spread.forward([TokenSpan(t, start, ours[s], out, groups[s]) for s, t, start, out in last])
        close(spread.tapped[-1], tapped[0])
        close(spread.executors[0].logits(spread.tapped[-1]), alone.logits(tapped[0]))


def greedy(forward, prompts: Sequence[list[int]], slots: Sequence[int], groups: Sequence[int], count: int) -> list:
    """Prompts in one step, then all sequences token by token."""
    tokens = [list(prompt) for prompt in prompts]
    done = [0] * len(tokens)
    for _ in range(count):
        rows = zip(tokens, done, slots, groups, strict=True)
        logits = forward([TokenSpan(one[start:], start, slot, True, group) for one, start, slot, group in rows])
        done = [len(one) for one in tokens]
        for one, row in zip(tokens, logits, strict=True):
            one.append(int(row.argmax()))
    return tokens


@pytest.mark.parametrize("sizes", [*TOPOLOGIES, *GROUPED[:2]], ids=name_of)
def test_greedy_tokens_are_those_of_the_whole_model(worlds: dict[int, RankWorld], sizes: ParallelSizes) -> None:
    shape = SHAPES["llama tied, heads of 9 and 3"]
    weights = random_weights(shape, 5)
    prompts = [ids(30, 4), ids(3, 5), ids(17, 6), ids(1, 7)]
    kv, alone = cache(shape), Llama(shape, weights, 256)
    with torch.inference_mode():
        expected = greedy(lambda spans: alone.forward(spans, kv), prompts, (0, 64, 128, 192), (0,) * 4, 25)
    groups = [sequence % sizes.attn_dp for sequence in range(4)]
    slots = [64 * (sequence // sizes.attn_dp) for sequence in range(4)]
    spread = Spread(worlds[sizes.tp], shape, weights, sizes)
    assert greedy(spread.forward, prompts, slots, groups, 25) == expected


def test_a_span_writes_the_kv_of_its_own_group_alone(worlds: dict[int, RankWorld]) -> None:
    shape = SHAPES["qwen3"]
    weights, sizes = random_weights(shape), ParallelSizes(4, attn_dp=2)
    spread, alone, kv = Spread(worlds[4], shape, weights, sizes), Llama(shape, weights, 256), cache(shape)
    spread.forward([TokenSpan(ids(6, 1), 0, 32, False, 1), TokenSpan(ids(4, 2), 0, 0, False, 0)])
    with torch.inference_mode():
        alone.forward([TokenSpan(ids(6, 1), 0, 32, False), TokenSpan(ids(4, 2), 0, 0, False)], kv)
    written = {0: (slice(0, 4), slice(4, None)), 1: (slice(32, 38), slice(0, 32))}
    for shard, own in zip(shards_of(shape, sizes), spread.caches, strict=True):
        here, elsewhere = written[shard.group]
        held = slice(shard.kv_heads.start, shard.kv_heads.stop)
        close(own.slots[:, :, :, here], kv.slots[:, :, held, here])
        assert not own.slots[:, :, :, elsewhere].any()


def test_a_step_without_a_groups_tokens_is_that_groups_too(worlds: dict[int, RankWorld]) -> None:
    """Its ranks compute their part of the feed-forward layers and of the vocabulary for the other one's tokens."""
    shape = SHAPES["llama"]
    weights = random_weights(shape)
    spread, alone, kv = (
        Spread(worlds[2], shape, weights, ParallelSizes(2, attn_dp=2)),
        Llama(shape, weights, 256),
        cache(shape),
    )
    with torch.inference_mode():
        for start in (0, 10):
            expected = alone.forward([TokenSpan(ids(10, start), start, 16, True)], kv)
            close(spread.forward([TokenSpan(ids(10, start), start, 16, True, 1)]), expected)
    assert not spread.caches[0].slots.any()
    assert spread.caches[1].slots.any()


def test_a_step_without_wanted_logits_has_none_anywhere(worlds: dict[int, RankWorld]) -> None:
    shape = SHAPES["qwen2"]
    spread = Spread(worlds[2], shape, random_weights(shape), ParallelSizes(2))
    assert spread.forward([TokenSpan([1, 2], 0, 0, False)]).shape == (0, shape.vocab)


def test_a_part_in_another_type(worlds: dict[int, RankWorld]) -> None:
    shape = SHAPES["llama"]
    weights, shards = random_weights(shape), shards_of(shape, ParallelSizes(2))

    def work(one: Collective) -> tuple[str, Tensor]:
        executor = ShardedLlama(shape, weights, shards, one, 256, place=lambda tensor: tensor.to(torch.bfloat16))
        span = TokenSpan(ids(20, 1), 0, 0, True)
        return executor.info.weights, executor.forward([span], cache(executor.part))

    (kind, logits), _ = worlds[2].run(work)
    with torch.inference_mode():
        exact = Llama(shape, weights, 256).forward([TokenSpan(ids(20, 1), 0, 0, True)], cache(shape))
    assert kind == "bfloat16"
    assert logits.dtype == torch.float32
    assert torch.cosine_similarity(logits, exact).item() > 0.99


def test_a_rank_that_is_gone_ends_the_pass() -> None:
    shape, world = SHAPES["llama"], RankWorld(3)
    try:
        spread = Spread(world, shape, random_weights(shape), ParallelSizes(3))
        world.collectives[2].close()
        with pytest.raises(RankError, match=r"Rank 0 of 3 could not sum 2x64 numbers: .* is gone"):
            spread.forward([TokenSpan([1, 2], 0, 0, True)])
    finally:
        world.close()


def test_greedy_tokens_are_those_of_transformers(worlds: dict[int, RankWorld], tmp_path: Path) -> None:
    from pdpanel.engine.config import read_environment
    from pdpanel.engine.model.store import resolve_model
    from pdpanel.engine.model.weights import load_weights
    from tokenizers import Tokenizer, models
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(3)
    config = Qwen3Config(
        vocab_size=259,
        hidden_size=64,
        intermediate_size=98,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=3,
        head_dim=16,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    made: Any = Qwen3ForCausalLM(config)
    for parameter in made.parameters():
        parameter.data.normal_(0, 0.2)
    made.save_pretrained(tmp_path / "m")
    Tokenizer(models.BPE(vocab={str(i): i for i in range(259)}, merges=[])).save(str(tmp_path / "m/tokenizer.json"))
    model = resolve_model(tmp_path / "m", read_environment({"PDPANEL_CACHE_DIR": str(tmp_path / "cache")}))
    weights = load_weights(model.directory, model.shape)
    made.eval().generation_config.update(eos_token_id=None, pad_token_id=0)
    prompt = ids(30, 5)
    with torch.inference_mode():
        expected = made.generate(torch.tensor([prompt]), max_new_tokens=30, do_sample=False)[0].tolist()
    for sizes, group in ((ParallelSizes(2), 0), (ParallelSizes(4), 0), (ParallelSizes(4, attn_dp=2), 1)):
        spread = Spread(worlds[sizes.tp], model.shape, weights, sizes)
        assert greedy(spread.forward, [prompt], [16], [group], 30) == [expected]
