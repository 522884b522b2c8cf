"""A rank's part of the weights: what the ranks' parts make adds up to what the whole makes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.model.expert_shape import ExpertShape
from pdpanel.engine.model.experts import ExpertWeights
from pdpanel.engine.model.shape import ModelShape
from pdpanel.engine.model.weights import LayerWeights, Weights
from pdpanel.engine.parallel.layout import ParallelSizes, fitting_sizes, shards_of
from pdpanel.engine.parallel.shards import part_shape, part_weights
from random_weights import SHAPES, random_weights, small_shape
from torch import Tensor


def parts_of(shape: ModelShape, weights: Weights, sizes: ParallelSizes) -> list[tuple[ModelShape, Weights]]:
    experts = (shape.experts.count, shape.experts.ffn) if shape.experts else (0, 0)
    shards = shards_of(shape, sizes, *experts)
    return [(part_shape(shape, shard, sizes.tp), part_weights(weights, shape, shard, sizes.tp)) for shard in shards]


def gated(h: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    gate, up = F.linear(h, gate_up).chunk(2, dim=-1)
    return F.linear(F.silu(gate) * up, down)


def heads_of(h: Tensor, layer: LayerWeights, shape: ModelShape) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of each head."""
    qkv = F.linear(h, layer.qkv, layer.qkv_bias)
    q, k, v = qkv.split((shape.q_rows, shape.kv_rows, shape.kv_rows), dim=-1)
    return (
        q.unflatten(-1, (shape.heads, shape.head_dim)),
        k.unflatten(-1, (shape.kv_heads, shape.head_dim)),
        v.unflatten(-1, (shape.kv_heads, shape.head_dim)),
    )


@st.composite
def models(draw: st.DrawFn) -> tuple[ModelShape, int]:
    kv_heads, width = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    shape = small_shape(kv_heads * width, kv_heads, head_dim=4, ffn=draw(st.integers(16, 40)))
    shape = replace(shape, layers=1, qkv_bias=draw(st.booleans()), tie_embeddings=draw(st.booleans()))
    return shape, draw(st.sampled_from(fitting_sizes(shape, 8)))


@given(models())
def test_the_parts_of_a_layer_add_up_to_the_whole(case: tuple[ModelShape, int]) -> None:
    shape, ranks = case
    weights = random_weights(shape)
    layer, h, attended = weights.layers[0], torch.randn(5, shape.hidden), torch.randn(5, shape.heads, shape.head_dim)
    shards = shards_of(shape, ParallelSizes(ranks))
    whole = heads_of(h, layer, shape)
    output, feed_forward, logits = torch.zeros(5, shape.hidden), torch.zeros(5, shape.hidden), []
    for shard, (part, own) in zip(shards, parts_of(shape, weights, ParallelSizes(ranks)), strict=True):
        mine = own.layers[0]
        for made, all_heads, held in zip(
            heads_of(h, mine, part), whole, (shard.heads, shard.kv_heads, shard.kv_heads), strict=True
        ):
            torch.testing.assert_close(made, all_heads[:, held.start : held.stop])
        output += F.linear(attended[:, shard.heads.start : shard.heads.stop].flatten(1), mine.o)
        feed_forward += gated(h, mine.gate_up, mine.down)
        logits.append(F.linear(h, own.lm_head))
    torch.testing.assert_close(output, F.linear(attended.flatten(1), layer.o), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(feed_forward, gated(h, layer.gate_up, layer.down), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.cat(logits, dim=-1), F.linear(h, weights.lm_head))


@pytest.mark.parametrize("name", SHAPES)
def test_one_rank_has_the_very_tensors(name: str) -> None:
    shape = SHAPES[name]
    weights = random_weights(shape)
    ((part, own),) = parts_of(shape, weights, ParallelSizes(1))
    assert replace(part, tie_embeddings=shape.tie_embeddings) == shape
    assert own == weights  # tensors are compared by identity first


def test_embedding_norms_and_rows_of_the_output_matrix_are_no_copies() -> None:
    shape = SHAPES["llama tied, heads of 9 and 3"]
    weights = random_weights(shape)
    shards = shards_of(shape, ParallelSizes(2))
    own = part_weights(weights, shape, shards[1], 2)
    assert own.embedding is weights.embedding
    assert own.layers[1].ffn_norm is weights.layers[1].ffn_norm
    row = weights.embedding[shards[1].vocab.start]
    assert own.lm_head.data_ptr() == row.data_ptr()
    elsewhere = part_weights(weights, shape, shards[1], 2, torch.clone)
    row = elsewhere.embedding[shards[1].vocab.start]
    assert elsewhere.lm_head.data_ptr() == row.data_ptr()  # on a GPU, too, a tied matrix is there once


def test_every_tensor_of_a_part_is_placed_once_and_none_of_another_rank() -> None:
    shape = replace(SHAPES["qwen2"], qk_norm=True)
    weights, placed = random_weights(shape), []

    def place(tensor: Tensor) -> Tensor:
        placed.append(tensor.shape)
        return tensor.to(torch.bfloat16)

    own = part_weights(weights, shape, shards_of(shape, ParallelSizes(4))[2], 4, place)
    tensors = [own.embedding, own.norm, own.lm_head]
    for layer in own.layers:
        found = (getattr(layer, name) for name in LayerWeights.__dataclass_fields__)
        tensors += [tensor for tensor in found if isinstance(tensor, Tensor)]
    assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}
    assert sorted(placed) == sorted(tensor.shape for tensor in tensors)
    assert own.layers[0].o.shape == (64, 3 * 16)
    assert own.layers[0].down.shape == (64, 24)


EXPERTS = ExpertShape(count=4, per_token=2, ffn=10, normalised=True, dense_layers=(1,))


def with_experts(shape: ModelShape) -> tuple[ModelShape, Weights]:
    """Two layers: the first has experts, the second has none."""
    shape = replace(shape, experts=EXPERTS)
    weights = random_weights(shape)
    experts = ExpertWeights(
        router=torch.randn(4, shape.hidden),
        ids=(0, 1, 2, 3),
        gate_up=tuple(torch.randn(20, shape.hidden) for _ in range(4)),
        down=tuple(torch.randn(shape.hidden, 10) for _ in range(4)),
    )
    first, second = weights.layers
    first = replace(first, gate_up=first.gate_up[:0], down=first.down[:, :0], experts=experts)
    return shape, replace(weights, layers=(first, second))


@pytest.mark.parametrize("sizes", [ParallelSizes(2), ParallelSizes(4), ParallelSizes(2, ep=2), ParallelSizes(4, ep=4)])
def test_experts_are_cut_or_shared_out_and_a_layer_without_them_is_cut(sizes: ParallelSizes) -> None:
    shape, weights = with_experts(small_shape(ffn=97))
    h = torch.randn(3, shape.hidden)
    experts, dense = weights.layers[0].experts, weights.layers[1]
    assert experts is not None
    made = [torch.zeros(3, shape.hidden) for _ in range(5)]
    for part, own in parts_of(shape, weights, sizes):
        mine = own.layers[0].experts
        assert mine is not None and mine.router is experts.router
        assert len(mine.ids) == (4 // sizes.tp if sizes.ep > 1 else 4)
        for expert, gate_up, down in zip(mine.ids, mine.gate_up, mine.down, strict=True):
            made[expert] += gated(h, gate_up, down)
        assert own.layers[1].down.shape[1] == part.ffn
        made[4] += gated(h, own.layers[1].gate_up, own.layers[1].down)
    for expert in range(4):
        torch.testing.assert_close(
            made[expert], gated(h, experts.gate_up[expert], experts.down[expert]), atol=1e-3, rtol=1e-3
        )
    torch.testing.assert_close(made[4], gated(h, dense.gate_up, dense.down), atol=1e-3, rtol=1e-3)


def test_experts_may_be_placed_otherwise() -> None:
    shape, weights = with_experts(small_shape())
    shard = shards_of(shape, ParallelSizes(3, ep=3), 4, 10)[1]
    own = part_weights(weights, shape, shard, 3, experts=(1, 3)).layers[0].experts
    all_of_them = weights.layers[0].experts
    assert own is not None and all_of_them is not None
    assert own.ids == (1, 3)
    assert own.down[1] is all_of_them.down[3]
