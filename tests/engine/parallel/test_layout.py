"""Shares of a model: everything exactly once, every query head with its KV head, refusals that name what fits."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.shape import ModelShape
from pdpanel.engine.parallel.layout import (
    ParallelSizes,
    RankShard,
    check_sizes,
    fitting_sizes,
    notice_of,
    part_of,
    shards_of,
)


def shape_of(heads: int, kv_heads: int, ffn: int = 96, vocab: int = 256) -> ModelShape:
    numbers: dict[str, Any] = {"layers": 2, "hidden": 64, "head_dim": 8, "context_length": 512}
    rest: dict[str, Any] = {"rope_theta": 10000.0, "rope_scaling": None, "rms_eps": 1e-5, "tie_embeddings": False}
    ids: dict[str, Any] = {"qkv_bias": False, "eos_ids": (), "bos_id": None}
    named: dict[str, Any] = {"architecture": "LlamaForCausalLM", "heads": heads, "kv_heads": kv_heads}
    return ModelShape(**named, ffn=ffn, vocab=vocab, **numbers, **rest, **ids)


SMOLLM2 = shape_of(9, 3, ffn=1536, vocab=49152)


@st.composite
def cases(draw: st.DrawFn) -> tuple[ModelShape, ParallelSizes]:
    """A model and sizes that fit it."""
    kv_heads, width = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    shape = shape_of(kv_heads * width, kv_heads, ffn=draw(st.integers(48, 200)), vocab=draw(st.integers(48, 400)))
    attn_tp = draw(st.sampled_from(fitting_sizes(shape, 12)))
    attn_dp = draw(st.integers(1, 4))
    return shape, ParallelSizes(attn_tp * attn_dp, attn_dp)


def joined(parts: list[range]) -> list[int]:
    return [index for part in parts for index in part]


def by_group(shards: tuple[RankShard, ...]) -> list[list[RankShard]]:
    groups = sorted({shard.group for shard in shards})
    return [[shard for shard in shards if shard.group == group] for group in groups]


@given(st.integers(0, 300), st.integers(1, 20))
def test_parts_follow_each_other_and_differ_by_one_at_most(count: int, parts: int) -> None:
    made = [part_of(count, parts, index) for index in range(parts)]
    assert joined(made) == list(range(count))
    sizes = [len(part) for part in made]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


@given(cases())
def test_every_group_has_each_query_head_once_and_no_rank_is_without(case: tuple[ModelShape, ParallelSizes]) -> None:
    shape, sizes = case
    shards = shards_of(shape, check_sizes(shape, sizes))
    assert [shard.rank for shard in shards] == list(range(sizes.tp))
    assert [shard.group for shard in shards] == [rank // sizes.attn_tp for rank in range(sizes.tp)]
    for group in by_group(shards):
        assert len(group) == sizes.attn_tp
        assert joined([shard.heads for shard in group]) == list(range(shape.heads))
        assert all(shard.heads for shard in group)


@given(cases())
def test_a_ranks_query_heads_look_at_its_kv_heads_as_they_do_in_the_whole(
    case: tuple[ModelShape, ParallelSizes],
) -> None:
    """Attention takes query head i of a rank to KV head i // (heads // kv_heads) of it: that must be the right one."""
    shape, sizes = case
    width = shape.heads // shape.kv_heads
    for shard in shards_of(shape, sizes):
        assert len(shard.heads) % len(shard.kv_heads) == 0
        own = len(shard.heads) // len(shard.kv_heads)
        for index, head in enumerate(shard.heads):
            assert shard.kv_heads[index // own] == head // width


@given(cases())
def test_kv_heads_are_held_once_or_as_often_as_there_are_more_ranks(case: tuple[ModelShape, ParallelSizes]) -> None:
    shape, sizes = case
    for group in by_group(shards_of(shape, sizes)):
        held = Counter(joined([shard.kv_heads for shard in group]))
        assert sorted(held) == list(range(shape.kv_heads))
        if sizes.attn_tp <= shape.kv_heads:
            assert set(held.values()) == {1}
        else:
            assert max(held.values()) - min(held.values()) <= 1
            assert held.total() == sizes.attn_tp


@given(cases())
def test_feed_forward_columns_and_vocabulary_are_shared_by_all_ranks(case: tuple[ModelShape, ParallelSizes]) -> None:
    shape, sizes = case
    shards = shards_of(shape, sizes)
    assert joined([shard.ffn for shard in shards]) == list(range(shape.ffn))
    assert joined([shard.vocab for shard in shards]) == list(range(shape.vocab))
    assert all(shard.experts == range(0) for shard in shards)


@given(cases(), st.integers(1, 5), st.integers(12, 100))
def test_experts_are_whole_on_one_rank_or_cut_over_all(
    case: tuple[ModelShape, ParallelSizes], each: int, width: int
) -> None:
    shape, sizes = case
    experts = each * sizes.tp
    cut = shards_of(shape, sizes, experts, width)
    assert joined([shard.ffn for shard in cut]) == list(range(width))
    assert all(shard.experts == range(experts) for shard in cut)
    if sizes.tp > 1:
        whole = ParallelSizes(sizes.tp, sizes.attn_dp, ep=sizes.tp)
        shared = shards_of(shape, check_sizes(shape, whole, experts), experts, width)
        assert joined([shard.experts for shard in shared]) == list(range(experts))
        assert all(shard.ffn == range(width) and len(shard.experts) == each for shard in shared)


@given(cases())
def test_groups_are_cut_alike(case: tuple[ModelShape, ParallelSizes]) -> None:
    shape, sizes = case
    first, *others = by_group(shards_of(shape, sizes))
    for group in others:
        assert [(shard.heads, shard.kv_heads) for shard in group] == [(one.heads, one.kv_heads) for one in first]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 40))
def test_the_sizes_that_fit_are_those_that_pass(kv_heads: int, width: int, tp: int) -> None:
    shape = shape_of(kv_heads * width, kv_heads)
    if tp in fitting_sizes(shape):
        assert check_sizes(shape, ParallelSizes(tp)) == ParallelSizes(tp)
    else:
        with pytest.raises(ConfigError, match=r"--tp-size = .* without a query head"):
            check_sizes(shape, ParallelSizes(tp))


def test_what_does_not_divide_is_shared_out_as_evenly_as_it_can_be() -> None:
    two = shards_of(SMOLLM2, ParallelSizes(2))
    assert [(len(shard.heads), len(shard.kv_heads)) for shard in two] == [(6, 2), (3, 1)]
    four = shards_of(SMOLLM2, ParallelSizes(4))
    assert [(shard.heads, shard.kv_heads) for shard in four] == [
        (range(2), range(1)),
        (range(2, 3), range(1)),
        (range(3, 6), range(1, 2)),
        (range(6, 9), range(2, 3)),
    ]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (ParallelSizes(1), ""),
        (ParallelSizes(3), ""),
        (ParallelSizes(6, attn_dp=2), ""),
        (ParallelSizes(2), "the model's 3 KV heads do not divide by 2 ranks, which have 2, 1"),
        (ParallelSizes(9), "the model's 3 KV heads are fewer than the 9 ranks of a group and replicated"),
    ],
)
def test_what_does_not_divide_is_said(sizes: ParallelSizes, words: str) -> None:
    assert notice_of(SMOLLM2, sizes) == words


@pytest.mark.parametrize(
    ("sizes", "experts", "words"),
    [
        (ParallelSizes(10), 0, "--tp-size = 10: leaves a rank without a query head: .* use 1, 2, 3, 4, 5, 6, 7, 8, 9 "),
        (ParallelSizes(10), 0, "8, 9 ranks.$"),
        (ParallelSizes(20, attn_dp=2), 0, "--tp-size = 20: .* for each of the 2 attention groups"),
        (ParallelSizes(20, attn_dp=2), 0, "groups, so --tp-size 2, 4, 6, 8, 10, 12, 14, 16, 18.$"),
        (ParallelSizes(4, attn_dp=3), 0, "--attn-dp-size = 3: does not divide --tp-size 4; use one of 1, 2, 4"),
        (ParallelSizes(2, ep=2), 0, "--ep-size = 2: the model has no experts; use 1"),
        (ParallelSizes(4, ep=2), 8, "--ep-size = 2: is neither 1 nor --tp-size 4; use 1 or 4"),
        (ParallelSizes(3, ep=3), 8, "--ep-size = 3: does not divide the model's 8 experts; use 1, 2, 4, 8 for"),
        (ParallelSizes(3, ep=3), 32, "use 1, 2, 4, 8 for --ep-size and --tp-size, or leave --ep-size out"),  # heads
        (ParallelSizes(6, attn_dp=2, ep=6), 8, "use 2, 4, 8 for --ep-size and --tp-size"),
        (ParallelSizes(9, attn_dp=3, ep=9), 8, "does not divide the model's 8 experts; leave --ep-size out"),
    ],
)
def test_a_refusal_names_what_fits(sizes: ParallelSizes, experts: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_sizes(SMOLLM2, sizes, experts)
