"""The experts of a layer: which of them compute a token, with which share, and what those that are here make of it.

Routing is transformers' (modeling_mixtral, modeling_qwen3_moe): softmax over all experts in float32, the largest
`per_token` of them. Each expert that has tokens multiplies all of them at once; experts go in the order of their
numbers, and so do an expert's tokens, so that equal input gives equal bits. Knows nothing of ranks: what is spread over
several of them is `engine.parallel.experts`' business. Called by `llama`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .expert_shape import ExpertShape

__all__ = ["ExpertLayer", "ExpertWeights", "OwnExperts", "Routes", "compute_experts", "route"]


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """Router and experts of one layer.

    Attributes:
        router: [experts, hidden], of all experts.
        ids: the experts that are here, ascending.
        gate_up: of each of `ids`, [2 * ffn, hidden]: gate, up.
        down: of each of `ids`, [hidden, ffn].
    """

    router: Tensor
    ids: tuple[int, ...]
    gate_up: tuple[Tensor, ...]
    down: tuple[Tensor, ...]

    def pick(self, ids: tuple[int, ...]) -> ExpertWeights:
        """Returns these experts alone, ascending; they share memory with ours."""
        places = {expert: place for place, expert in enumerate(self.ids)}
        own = tuple(sorted(ids))
        gate_up = tuple(self.gate_up[places[expert]] for expert in own)
        down = tuple(self.down[places[expert]] for expert in own)
        return replace(self, ids=own, gate_up=gate_up, down=down)


@dataclass(frozen=True, slots=True)
class Routes:
    """The experts of each token.

    Attributes:
        ids: int64 [tokens, per_token].
        shares: float32 [tokens, per_token]; what an expert makes of a token counts so much.
    """

    ids: Tensor
    shares: Tensor


class ExpertLayer(Protocol):
    """What computes a layer's experts."""

    def __call__(self, h: Tensor, weights: ExpertWeights) -> Tensor:
        """Returns what is known here of the layer's result, [tokens, hidden]; the sum over all ranks is the whole.

        Args:
            h: normalised states of all tokens, [tokens, hidden].
        """
        ...


class OwnExperts:
    """The experts that are here compute all tokens that are theirs."""

    def __init__(self, shape: ExpertShape) -> None:
        self._shape = shape

    def __call__(self, h: Tensor, weights: ExpertWeights) -> Tensor:
        """See `ExpertLayer`."""
        return compute_experts(h, route(h, weights.router, self._shape), weights)


def route(h: Tensor, router: Tensor, shape: ExpertShape) -> Routes:
    """Returns the experts of each row of [tokens, hidden], the one with the largest share first."""
    shares = F.linear(h, router).softmax(dim=-1, dtype=torch.float32)
    shares, ids = shares.topk(shape.per_token, dim=-1)
    if shape.normalised:
        shares = shares / shares.sum(dim=-1, keepdim=True)
    return Routes(ids, shares)


def compute_experts(h: Tensor, routes: Routes, weights: ExpertWeights) -> Tensor:
    """Returns what the experts that are here add to each row, [tokens, hidden]; zeros for rows of others alone.

    Args:
        h: [tokens, hidden].
        routes: of the same tokens.
    """
    result = torch.zeros_like(h)
    chosen, per_token = routes.ids.flatten(), routes.ids.shape[1]
    order = chosen.argsort(stable=True)  # all uses of the first expert, by token, then those of the next
    shares, rows = routes.shares.flatten()[order].unsqueeze(1), order // per_token
    stops = chosen.bincount(minlength=len(weights.router)).cumsum(0).tolist()
    for expert, gate_up, down in zip(weights.ids, weights.gate_up, weights.down, strict=True):
        start, stop = (stops[expert - 1] if expert else 0), stops[expert]
        if start == stop:
            continue
        own = rows[start:stop]
        gate, up = F.linear(h[own], gate_up).chunk(2, dim=-1)
        made = F.linear(F.silu(gate).mul_(up), down)
        result.index_add_(0, own, made.mul_(shares[start:stop]))
    return result
