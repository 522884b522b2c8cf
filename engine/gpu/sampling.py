"""The next token of each row of logits, drawn where the logits are.

The rule is `engine.sampler`'s, and so is its number for (seed, position); here all rows are worked at once, in float64
where it sums. Nothing waits for the device: `pick` launches and returns tensors on it, which are also the next step's
inputs. `engine.sampler` calls it for logits that are not on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..request import SamplingParams

__all__ = ["pick"]

_MIN_TEMPERATURE = 1e-6
_BLOCK = 256


def pick(logits: Tensor, params: Sequence[SamplingParams], uniforms: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Returns one token id per row, [rows] int64, and each row's largest logit, [rows], on the logits' device.

    A row whose largest logit is not finite has no usable logits; its token means nothing.

    Args:
        logits: [rows, vocab] float32; -inf marks impossible tokens.
        params: the rows' parameters.
        uniforms: the rows' numbers in [0, 1); those of greedy rows are not looked at.
    """
    best = logits.argmax(dim=-1, keepdim=True)
    peaks = logits.gather(1, best)  # NaN counts as the largest, so a NaN anywhere shows here
    drawn = [row for row, one in enumerate(params) if not one.greedy]
    if not drawn:
        return best.squeeze(1), peaks.squeeze(1)
    vocab = logits.shape[1]
    table = [
        [max(params[row].temperature, _MIN_TEMPERATURE) for row in drawn],
        [uniforms[row] for row in drawn],
        [float(params[row].top_k) if 0 < params[row].top_k < vocab else float(vocab) for row in drawn],
        [params[row].top_p if params[row].top_p < 1 else float("inf") for row in drawn],
        [max(params[row].min_p, 0.0) for row in drawn],
        [float(row) for row in drawn],
    ]
    values = torch.tensor(table, dtype=torch.float64, pin_memory=logits.is_cuda).to(logits.device, non_blocking=True)
    temperature, uniform, top_k, top_p, min_p, rows = values.unsqueeze(2).unbind()  # each [drawn, 1]
    rows = rows.squeeze(1).long()
    all_drawn = len(drawn) == len(logits)
    own = logits if all_drawn else logits.index_select(0, rows)
    own_peaks = peaks if all_drawn else peaks.index_select(0, rows)
    weights = ((own - own_peaks) / temperature.float()).exp_()
    if any(_filters(params[row], vocab) for row in drawn):
        weights = _keep(weights, top_k, top_p, min_p)
    chosen = _invert(weights, uniform)
    return best.squeeze(1).index_copy(0, rows, chosen), peaks.squeeze(1)


def _filters(params: SamplingParams, vocab: int) -> bool:
    return 0 < params.top_k < vocab or params.top_p < 1 or params.min_p > 0


def _keep(weights: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> Tensor:
    """Returns the weights with those set to 0 that the filters take out."""
    ranked, order = weights.sort(dim=-1, descending=True, stable=True)  # stable: the lower id first among equals
    running = ranked.cumsum(dim=-1, dtype=torch.float64)
    before = F.pad(running[:, :-1], (1, 0))
    ranks = torch.arange(weights.shape[1], device=weights.device)
    kept = (ranks < top_k) & (before <= top_p * running[:, -1:]) & (ranked >= min_p)  # the largest weight is 1
    return torch.zeros_like(weights).scatter_(1, order, ranked * kept)


def _invert(weights: Tensor, uniform: Tensor) -> Tensor:
    """Returns the first place in each row where the running sum exceeds `uniform` times the sum, [rows]."""
    blocks = F.pad(weights, (0, -weights.shape[1] % _BLOCK)).unflatten(1, (-1, _BLOCK))
    running = blocks.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    total = running[:, -1:]
    target = uniform * total
    block = (running <= target).sum(dim=-1, keepdim=True)
    # The product may round up to the sum; the last block with any weight is the one that reaches it.
    block = torch.where(block == running.shape[1], (running < total).sum(dim=-1, keepdim=True), block)
    # A row without numbers has sums without order; its place only has to exist.
    block = block.clamp_(max=running.shape[1] - 1)
    before = F.pad(running, (1, 0)).gather(1, block)
    inside = blocks.gather(1, block.unsqueeze(2).expand(-1, 1, _BLOCK)).squeeze(1)
    at = (inside.cumsum(dim=-1, dtype=torch.float64) <= target - before).sum(dim=-1)
    last = (torch.arange(_BLOCK, device=weights.device) * (inside > 0)).amax(dim=-1)
    return block.squeeze(1) * _BLOCK + torch.minimum(at, last)
