"""Which part of a model each rank of a worker computes: heads, feed-forward columns, vocabulary rows, experts.

Pure arithmetic over a `ModelShape`. Ranks are numbered as SGLang numbers them: rank r belongs to attention group
r // attn_tp, where each group has requests of its own (DP attention), and has part r % attn_tp of that group's heads;
feed-forward columns, vocabulary and experts are shared out among all ranks. What does not divide is shared out as
evenly as it can be, the first ranks having one more; KV heads that are fewer than the ranks of a group are replicated.
Used by whoever slices weights, lays out KV or plans transfers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import ConfigError
from ..model.shape import ModelShape

__all__ = ["ParallelSizes", "RankShard", "check_sizes", "fitting_sizes", "notice_of", "part_of", "shards_of"]


@dataclass(frozen=True, slots=True)
class ParallelSizes:
    """How a worker is spread; the names are those of SGLang's flags.

    Attributes:
        tp: ranks of the worker.
        attn_dp: attention groups, each with requests and KV of its own; divides `tp`.
        ep: ranks that share out the experts; 1 (each rank has a part of every expert) or `tp`.
    """

    tp: int = 1
    attn_dp: int = 1
    ep: int = 1

    @property
    def attn_tp(self) -> int:
        """Ranks of one attention group."""
        return self.tp // self.attn_dp


@dataclass(frozen=True, slots=True)
class RankShard:
    """What one rank has.

    Attributes:
        rank: of the worker.
        group: its attention group.
        heads: query heads, of its group's requests.
        kv_heads: KV heads that those look at.
        ffn: columns of the feed-forward layers; of a model with experts that are not shared out, of each expert.
        vocab: rows of the output matrix.
        experts: those that it has; empty where the model has none.
    """

    rank: int
    group: int
    heads: range
    kv_heads: range
    ffn: range
    vocab: range
    experts: range


def part_of(count: int, parts: int, index: int) -> range:
    """Returns part `index` of range(count), cut into `parts` that differ by one at most, larger ones first."""
    size, extra = divmod(count, parts)
    start = index * size + min(index, extra)
    return range(start, start + size + (index < extra))


def shards_of(
    shape: ModelShape, sizes: ParallelSizes, experts: int | None = None, expert_ffn: int | None = None
) -> tuple[RankShard, ...]:
    """Returns what each rank has, by rank.

    Args:
        sizes: as `check_sizes` passed them.
        experts: of each layer, 0 for a model without; None takes them from the shape.
        expert_ffn: columns of one expert; None takes them from the shape.
    """
    experts = _experts(shape) if experts is None else experts
    expert_ffn = (shape.experts.ffn if shape.experts else 0) if expert_ffn is None else expert_ffn
    shared_out = sizes.ep > 1
    shards: list[RankShard] = []
    for rank in range(sizes.tp):
        group, part = divmod(rank, sizes.attn_tp)
        heads, kv_heads = _heads(shape, sizes.attn_tp, part)
        ffn = range(expert_ffn) if shared_out else part_of(expert_ffn if experts else shape.ffn, sizes.tp, rank)
        own = part_of(experts, sizes.tp, rank) if shared_out else range(experts)
        shards.append(RankShard(rank, group, heads, kv_heads, ffn, part_of(shape.vocab, sizes.tp, rank), own))
    return tuple(shards)


def _experts(shape: ModelShape) -> int:
    return shape.experts.count if shape.experts else 0


def _heads(shape: ModelShape, ranks: int, part: int) -> tuple[range, range]:
    """Returns query and KV heads: whole groups of query heads while there are enough KV heads, else parts of them."""
    width = shape.heads // shape.kv_heads
    if ranks <= shape.kv_heads:
        kv_heads = part_of(shape.kv_heads, ranks, part)
        return range(kv_heads.start * width, kv_heads.stop * width), kv_heads
    # Every rank's query heads look at one KV head, so that a rank's heads are a whole multiple of its KV heads.
    sharers = [len(part_of(ranks, shape.kv_heads, head)) for head in range(shape.kv_heads)]
    head = 0
    while part >= sharers[head]:
        part -= sharers[head]
        head += 1
    heads = part_of(width, sharers[head], part)
    return range(head * width + heads.start, head * width + heads.stop), range(head, head + 1)


def fitting_sizes(shape: ModelShape, most: int = 64) -> tuple[int, ...]:
    """Returns the numbers of ranks, `most` at most, that leave none of an attention group without a query head."""
    return tuple(ranks for ranks in range(1, most + 1) if _fits(shape, ranks))


def _fits(shape: ModelShape, ranks: int) -> bool:
    return ranks <= min(shape.heads, shape.ffn) and all(len(_heads(shape, ranks, part)[0]) for part in range(ranks))


def _fits_in_groups(shape: ModelShape, ranks: int, groups: int) -> bool:
    return ranks % groups == 0 and _fits(shape, ranks // groups)


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def check_sizes(shape: ModelShape, sizes: ParallelSizes, experts: int | None = None) -> ParallelSizes:
    """Returns `sizes` when the model can be spread so.

    Args:
        experts: of each layer, 0 for a model without; None takes them from the shape.

    Raises:
        ConfigError: with the sizes that would fit.
    """
    if sizes.tp % sizes.attn_dp:
        fits = _listed(n for n in range(1, sizes.tp + 1) if sizes.tp % n == 0)
        problem = f"does not divide --tp-size {sizes.tp}"
        raise ConfigError("--attn-dp-size", sizes.attn_dp, problem, f"use one of {fits}")
    if not _fits(shape, sizes.attn_tp):
        fits = fitting_sizes(shape, shape.heads)
        problem = f"leaves a rank without a query head: the model has {shape.heads}, and {shape.kv_heads} KV heads"
        remedy = f"use {_listed(fits)} ranks"
        if sizes.attn_dp > 1:
            all_groups = _listed([ranks * sizes.attn_dp for ranks in fits])
            remedy += f" for each of the {sizes.attn_dp} attention groups, so --tp-size {all_groups}"
        raise ConfigError("--tp-size", sizes.tp, problem, remedy)
    if sizes.ep == 1:
        return sizes
    experts = _experts(shape) if experts is None else experts
    if not experts:
        raise ConfigError("--ep-size", sizes.ep, "the model has no experts", "use 1, or a model with experts")
    if sizes.ep != sizes.tp:
        raise ConfigError("--ep-size", sizes.ep, f"is neither 1 nor --tp-size {sizes.tp}", f"use 1 or {sizes.tp}")
    if experts % sizes.ep:
        fits = [n for n in range(1, experts + 1) if experts % n == 0 and _fits_in_groups(shape, n, sizes.attn_dp)]
        problem = f"does not divide the model's {experts} experts"
        remedy = f"use {_listed(fits)} for --ep-size and --tp-size, or " if fits else ""
        raise ConfigError("--ep-size", sizes.ep, problem, f"{remedy}leave --ep-size out")
    return sizes


def notice_of(shape: ModelShape, sizes: ParallelSizes) -> str:
    """Returns in one sentence what does not divide and what becomes of it; empty where all divides."""
    if shape.kv_heads % sizes.attn_tp == 0:
        return ""
    if sizes.attn_tp < shape.kv_heads:
        counts = ", ".join(str(len(_heads(shape, sizes.attn_tp, part)[1])) for part in range(sizes.attn_tp))
        return f"the model's {shape.kv_heads} KV heads do not divide by {sizes.attn_tp} ranks, which have {counts}"
    return f"the model's {shape.kv_heads} KV heads are fewer than the {sizes.attn_tp} ranks of a group and replicated"
