"""A rank's own weights and shape, cut out of the whole model's, so that the model's own code computes its part.

Rows of what makes heads and feed-forward columns, columns of what they go into, rows of the output matrix; embedding
and norms stay whole. Called once for each rank when it loads. Knows nothing of other ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ..model.experts import ExpertWeights
from ..model.shape import ModelShape
from ..model.weights import LayerWeights, Weights
from .layout import RankShard, part_of

__all__ = ["Place", "part_shape", "part_weights", "stay"]

Place = Callable[[Tensor], Tensor]
"""Brings a rank's part of a tensor to where it computes, in the type that it computes in."""


def stay(tensor: Tensor) -> Tensor:
    """A `Place`: here, as it is."""
    return tensor


def part_shape(shape: ModelShape, shard: RankShard, ranks: int) -> ModelShape:
    """Returns the shape of a rank's part, one of `ranks`: of its layers, and of its KV.

    The vocabulary stays whole, since the embedding does; the output matrix is not it even where the model ties them.
    """
    return replace(
        shape,
        heads=len(shard.heads),
        kv_heads=len(shard.kv_heads),
        ffn=len(_columns_of(shape, shard, ranks)),
        tie_embeddings=False,
        experts=None if shape.experts is None else replace(shape.experts, ffn=len(shard.ffn)),
    )


def part_weights(
    weights: Weights,
    shape: ModelShape,
    shard: RankShard,
    ranks: int,
    place: Place = stay,
    experts: tuple[int, ...] | None = None,
) -> Weights:
    """Returns a rank's part of the weights.

    What a rank has whole, and rows that follow each other, are the given tensors or views of them; other parts are
    copies.

    Args:
        weights: all of them, mapped from the file.
        shape: of the whole model.
        ranks: of the worker.
        place: called with each tensor of the part, once.
        experts: those of this rank, where they are placed otherwise than `shard` has them.
    """
    embedding = place(weights.embedding)
    is_tied = weights.lm_head is weights.embedding
    own = tuple(shard.experts) if experts is None else experts
    return Weights(
        embedding=embedding,
        layers=tuple(_placed(_layer(layer, shape, shard, ranks, own), place) for layer in weights.layers),
        norm=place(weights.norm),
        lm_head=_rows(embedding, shard.vocab) if is_tied else place(_rows(weights.lm_head, shard.vocab)),
    )


def _columns_of(shape: ModelShape, shard: RankShard, ranks: int) -> range:
    """Returns the columns of layers without experts, which a model with experts may have, too."""
    return shard.ffn if shape.experts is None else part_of(shape.ffn, ranks, shard.rank)


def _layer(layer: LayerWeights, shape: ModelShape, shard: RankShard, ranks: int, own: tuple[int, ...]) -> LayerWeights:
    """Returns a rank's part of a layer; what is not named here, a rank has whole."""
    dim = shape.head_dim
    heads, kv_heads = _times(shard.heads, dim), _times(shard.kv_heads, dim)
    columns, experts = _columns_of(shape, shard, ranks), layer.experts
    keys = _behind(kv_heads, shape.q_rows)
    qkv = (heads, keys, _behind(keys, shape.kv_rows))
    bias = layer.qkv_bias
    return replace(
        layer,
        qkv=_rows(layer.qkv, *qkv),
        qkv_bias=None if bias is None else _rows(bias, *qkv),
        o=_columns(layer.o, heads),
        gate_up=_rows(layer.gate_up, columns, _behind(columns, shape.ffn)),
        down=_columns(layer.down, columns),
        experts=None if experts is None else _experts(experts.pick(own), shard.ffn),
    )


def _experts(experts: ExpertWeights, columns: range) -> ExpertWeights:
    """Returns these columns of each expert."""
    return replace(
        experts,
        gate_up=tuple(_rows(one, columns, _behind(columns, len(one) // 2)) for one in experts.gate_up),
        down=tuple(_columns(one, columns) for one in experts.down),
    )


def _placed(layer: LayerWeights, place: Place) -> LayerWeights:
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}
    placed: dict[str, Any] = {name: place(value) for name, value in values.items() if isinstance(value, Tensor)}
    if layer.experts is not None:
        router, gate_up, down = layer.experts.router, layer.experts.gate_up, layer.experts.down
        experts = replace(layer.experts, router=place(router), gate_up=tuple(map(place, gate_up)))
        placed["experts"] = replace(experts, down=tuple(map(place, down)))
    return replace(layer, **placed)


def _times(part: range, width: int) -> range:
    return range(part.start * width, part.stop * width)


def _behind(part: range, rows: int) -> range:
    return range(part.start + rows, part.stop + rows)


def _rows(tensor: Tensor, *parts: range) -> Tensor:
    """Returns rows of a tensor; the tensor itself when these are all."""
    if sum(len(part) for part in parts) == len(tensor):
        return tensor
    cut = [tensor[part.start : part.stop] for part in parts]
    return cut[0] if len(cut) == 1 else torch.cat(cut)


def _columns(tensor: Tensor, part: range) -> Tensor:
    """Returns columns of a matrix; the matrix itself when these are all."""
    return tensor if len(part) == tensor.shape[1] else tensor[:, part.start : part.stop].contiguous()
