"""The next token of each row of logits.

A pure function of (row of logits, sampling parameters, seed, position): neither the other rows of the batch
nor the number of threads matters, so a request replayed on another worker draws the same tokens. Rows are
worked one by one in numpy, whose sums do not depend on a thread count; those on a GPU are drawn there, all at
once. The step loop calls it; it knows no requests, only their rows.

The rule, in SGLang's order: w = exp((logit - max) / temperature), p = w / sum(w). Ranked by falling w, lower
id first among equals, a token is kept if its rank is below top_k, the tokens ranked before it hold at most
top_p of the whole mass, and its w is at least min_p times the largest. The draw takes u in [0, 1) from a hash
of (seed, position) and returns the first kept token, in ascending id, at which the running sum of w exceeds u
times the sum of the kept.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import PdpanelError
from .gpu.sampling import pick
from .request import SamplingParams

__all__ = ["SamplingError", "mask_stop_tokens", "sample", "uniform"]

_MIN_TEMPERATURE = 1e-6
_WORD = 1 << 64
_BLOCK = 256
# Candidate sets for top_p, by weight relative to the likeliest token; the last resort is the whole
# vocabulary.
_THRESHOLDS = (1e-2, 1e-4, 1e-7)

_Floats = NDArray[np.float32]
_Ids = NDArray[np.int64]


class SamplingError(PdpanelError):
    """Raised when rows have no usable logits (NaN, +inf, or everything masked); the other rows are sound.

    Attributes:
        rows: indices of the rows at fault.
    """

    def __init__(self, rows: tuple[int, ...], names: Sequence[str]) -> None:
        self.rows = rows
        shown = ", ".join(str(names[row]) if row < len(names) else f"row {row}" for row in rows)
        super().__init__(f"The model gave no usable logits (NaN, infinite or all masked) for {shown}.")


def uniform(seed: int, position: int) -> float:
    """Returns the number in [0, 1) that belongs to (seed, position): 53 bits of BLAKE2b over both as u64."""
    message = struct.pack("<QQ", seed % _WORD, position % _WORD)
    digest = hashlib.blake2b(message, digest_size=8, person=b"pdpanel.sample").digest()
    return (int.from_bytes(digest, "little") >> 11) / (1 << 53)


def mask_stop_tokens(logits: Tensor, rows: Sequence[int], ids: Sequence[Sequence[int]]) -> None:
    """Makes stop tokens impossible, in place, for requests below their `min_new_tokens`.

    Args:
        logits: [rows, vocab].
        rows: indices of the rows to mask.
        ids: for each of `rows` its stop token ids; ids outside the vocabulary are ignored.
    """
    vocab = logits.shape[1]
    places = [(row, token) for row, tokens in zip(rows, ids, strict=True) for token in tokens if 0 <= token < vocab]
    if places:
        at = torch.tensor(places, device=logits.device).unbind(1)
        logits[at] = float("-inf")


def sample(
    logits: Tensor,
    params: Sequence[SamplingParams],
    seeds: Sequence[int],
    positions: Sequence[int],
    names: Sequence[str] = (),
) -> list[int]:
    """Returns one token id per row.

    Args:
        logits: [rows, vocab] float32; -inf marks impossible tokens.
        params: the rows' parameters.
        seeds: the rows' seeds, any integers.
        positions: the rows' sequence positions of the token to draw.
        names: the rows' request ids, for errors.

    Raises:
        SamplingError: a row has NaN, +inf or nothing but -inf.
    """
    if logits.shape[0] == 0:
        return []
    if logits.device.type != "cpu":
        return _sample_there(logits, params, seeds, positions, names)
    chosen, peaks = _likeliest(logits)  # NaN counts as the largest, so a NaN anywhere shows here
    if not all(map(math.isfinite, peaks)):
        raise SamplingError(tuple(row for row, peak in enumerate(peaks) if not math.isfinite(peak)), names)
    drawn = [row for row, one in enumerate(params) if not one.greedy]
    if drawn:
        host = logits.detach().numpy()
        for row in drawn:
            chosen[row] = _draw(host[row], peaks[row], params[row], uniform(seeds[row], positions[row]))
    return chosen


def _likeliest(logits: Tensor) -> tuple[list[int], list[float]]:
    """Returns the likeliest token of each row, the first of equals, and its logit."""
    rows = logits.detach().numpy()  # many times as fast as torch here
    best = rows.argmax(axis=1)
    return best.tolist(), rows[np.arange(len(rows)), best].tolist()


def _sample_there(
    logits: Tensor,
    params: Sequence[SamplingParams],
    seeds: Sequence[int],
    positions: Sequence[int],
    names: Sequence[str],
) -> list[int]:
    """Samples on the logits' device and brings the tokens here in one copy, the only wait."""
    numbers = [0.0 if one.greedy else uniform(*at) for one, *at in zip(params, seeds, positions, strict=True)]
    chosen, peaks = pick(logits, params, numbers)
    tokens, tops = torch.stack((chosen.double(), peaks.double())).tolist()
    if not all(map(math.isfinite, tops)):
        raise SamplingError(tuple(row for row, top in enumerate(tops) if not math.isfinite(top)), names)
    return [int(token) for token in tokens]


def _draw(row: _Floats, peak: float, params: SamplingParams, u: float) -> int:
    weights = row - np.float32(peak)
    weights /= np.float32(max(params.temperature, _MIN_TEMPERATURE))
    np.exp(weights, out=weights)
    kept = _kept(weights, params)
    if kept is None:
        return _invert(weights, u)
    kept.sort()
    return int(kept[_invert(weights[kept], u)])


def _invert(weights: _Floats, u: float) -> int:
    """Returns the first place where the running sum of `weights` exceeds `u` times their sum.

    Sums blocks first: a running sum over a whole vocabulary costs more than everything else here together.
    """
    sums = np.cumsum(np.add.reduceat(weights, np.arange(0, weights.size, _BLOCK), dtype=np.float64))
    target = u * sums[-1]
    block = int(np.searchsorted(sums, target, side="right"))
    if block == sums.size:
        # The product may round up to the sum; the last block with any weight is the one that reaches it.
        block = int(np.searchsorted(sums, sums[-1], side="left"))
    start = block * _BLOCK
    inside = weights[start : start + _BLOCK]
    running = np.cumsum(inside, dtype=np.float64)
    at = int(np.searchsorted(running, target - (sums[block - 1] if block else 0.0), side="right"))
    return start + (at if at < running.size else int(np.flatnonzero(inside)[-1]))


def _kept(weights: _Floats, params: SamplingParams) -> _Ids | None:
    """Returns the ids that the filters keep, in no particular order; None for all."""
    vocab = weights.size
    limit = params.top_k if 0 < params.top_k < vocab else vocab
    floor = params.min_p if params.min_p > 0 else 0.0
    if params.top_p >= 1:
        if limit == vocab:
            return np.flatnonzero(weights >= floor) if floor else None
        ids = _ranked(weights, float(np.partition(weights, vocab - limit)[vocab - limit]))[:limit]
    else:
        ids = _nucleus(weights, params.top_p, limit)
    return ids[weights[ids] >= floor] if floor else ids


def _nucleus(weights: _Floats, top_p: float, limit: int) -> _Ids:
    """Returns the first ranks, at most `limit`, of which each has at most `top_p` of the mass before it.

    Sorts only tokens near the top. All tokens from some weight up are exactly the first ranks, so their
    answer is that of the whole vocabulary as soon as they hold more than `top_p` or reach `limit`.
    """
    bound = top_p * float(np.sum(weights, dtype=np.float64))
    for threshold in _THRESHOLDS:
        ids = _ranked(weights, threshold)
        running = np.cumsum(weights[ids], dtype=np.float64)
        if ids.size >= limit or running[-1] > bound:
            break
    else:
        ids = _ranked(weights, 0.0)
        running = np.cumsum(weights[ids], dtype=np.float64)
    before = np.concatenate(([0.0], running[:-1]))
    return ids[: min(limit, int(np.count_nonzero(before <= bound)))]


def _ranked(weights: _Floats, lowest: float) -> _Ids:
    """Returns the ids of weight `lowest` or more, largest first, lower id first among equals."""
    ids = np.flatnonzero(weights >= lowest)
    # Bits of floats that are not negative order like the floats. One integer of (falling weight, id) makes
    # every key different, and numpy sorts integers many times faster than it sorts floats stably by index.
    falling = 0xFFFFFFFF - weights[ids].view(np.uint32).astype(np.int64)
    keys = np.sort(falling << 31 | ids)
    return keys & 0x7FFFFFFF
