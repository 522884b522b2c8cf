"""What the first rank's step loop does, every rank does: orders that travelled as bytes, on real KV memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import RankError
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.pages import Run
from pdpanel.engine.parallel.carrier import RankCarrier, RankPlace
from pdpanel.engine.parallel.frames import decode_down, encode
from pdpanel.engine.parallel.layout import ParallelSizes, shards_of
from pdpanel.engine.parallel.meter import Meter
from pdpanel.engine.parallel.orders import Compute, Order, Profile, Profiled, Report, SpanOrder
from pdpanel.engine.parallel.ranks import Rank, RankedExecutor, RankedKV
from pdpanel.engine.parallel.shards import part_shape
from pdpanel.engine.profiling_spans import Spans
from random_weights import SHAPES

PAGES, PAGE = 6, 2
SHAPE = SHAPES["llama tied, heads of 9 and 3"]
SHARDS = shards_of(SHAPE, ParallelSizes(4, attn_dp=2))
GROUPS = 2


@dataclass
class Model:
    """An executor that keeps what it was asked for."""

    fails: bool = False
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    shape: Any = SHAPE
    info: Any = "info"

    def forward(self, spans: Sequence[TokenSpan], kv: KVCache, tap: Callable[..., None] | None = None) -> torch.Tensor:
        if self.fails:
            raise RankError("Another rank is gone.")
        self.asked.append((list(spans), kv, tap))
        return torch.zeros(1)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return states + 1


@dataclass
class Wire:
    """Takes orders to the other ranks as they would travel, at once."""

    others: list[Rank] = field(default_factory=list)
    sent: list[Order] = field(default_factory=list)
    reason: str = ""

    def send(self, order: Order) -> None:
        self.sent.append(order)
        for rank in self.others:
            arrived = decode_down(encode(order)[4:])
            rank.carry_out(arrived)  # type: ignore[arg-type]

    def gone(self, wait_s: float) -> str:
        return self.reason


class Group:
    waited_s = 0.0


class Profiler:
    def __init__(self) -> None:
        self.folders: list[str] = []
        self.spans = Spans()

    def profile(self, folder: str) -> str:
        self.folders.append(folder)
        return "/traces/1.json"


def rank_of(number: int, reports: list[Report], profiler: Profiler | None = None) -> Rank:
    shape = part_shape(SHAPE, SHARDS[number], len(SHARDS))
    kv = KVCache(shape, pages=PAGES, page_size=PAGE, dtype=torch.float32, staging=True)
    kv.staging.zero_()
    carrier = RankCarrier(RankPlace.of(SHARDS, number), kv, None, reports.append)
    return Rank(number, SHARDS[number].group, Model(), kv, carrier, Meter(), reports.append, profiler)


def spread() -> tuple[list[Rank], Wire, list[Report]]:
    reports: list[Report] = []
    ranks = [rank_of(number, reports) for number in range(len(SHARDS))]
    return ranks, Wire(ranks[1:]), reports


PAGE_NUMBERS = st.integers(0, PAGES - 2)
MOVES = st.tuples(st.just("move"), st.integers(0, GROUPS - 1), PAGE_NUMBERS, PAGE_NUMBERS, st.integers(1, 2 * PAGE))
COPIES = st.tuples(
    st.sampled_from(["export", "import"]),
    st.integers(0, GROUPS - 1),
    st.integers(0, PAGES - 3),
    st.lists(st.sampled_from([Run(0, 1), Run(2, 1), Run(3, 2), Run(5, 1)]), min_size=1, max_size=2, unique=True),
)


@given(st.lists(MOVES | COPIES, max_size=8))
def test_each_rank_has_its_heads_of_what_one_rank_would_have(steps: list[tuple[Any, ...]]) -> None:
    ranks, wire, _ = spread()
    whole = [KVCache(SHAPE, pages=PAGES, page_size=PAGE, dtype=torch.float32, staging=True) for _ in range(GROUPS)]
    for group, kv in enumerate(whole):
        kv.staging.zero_()
        kv.slots.copy_(torch.arange(kv.slots.numel()).view_as(kv.slots) + 1000 * group)
    for shard, rank in zip(SHARDS, ranks, strict=True):
        heads = slice(shard.kv_heads.start, shard.kv_heads.stop)
        rank.kv.slots.copy_(whole[shard.group].slots[:, :, heads])
    groups = [RankedKV(group, ranks[0], wire) for group in range(GROUPS)]
    for kind, group, *rest in steps:
        for kv in (whole[group], groups[group]):
            if kind == "move":
                kv.move(*rest)
            elif kind == "export":
                kv.export_pages(rest[0], tuple(rest[1]))
            else:
                kv.import_pages(tuple(rest[1]), rest[0])
    for shard, rank in zip(SHARDS, ranks, strict=True):
        heads = slice(shard.kv_heads.start, shard.kv_heads.stop)
        assert torch.equal(rank.kv.slots, whole[shard.group].slots[:, :, heads])
        assert torch.equal(rank.kv.staging, whole[shard.group].staging[:, :, :, heads])
    assert len(wire.sent) == len(steps)


def test_all_ranks_compute_the_same_spans_and_the_first_one_answers() -> None:
    ranks, wire, _ = spread()
    executor, tapped = RankedExecutor(ranks[0], wire), []
    spans = [TokenSpan([5, 7, 9], 0, 16, False, 1), TokenSpan([3], 4, 0, True)]
    assert executor.forward(spans, ranks[0].kv, tapped.append).shape == (1,)
    assert wire.sent == [Compute((SpanOrder((5, 7, 9), 0, 16, False, 1), SpanOrder((3,), 4, 0, True)), True)]
    for rank in ranks:
        model: Any = rank.executor
        ((taken, kv, tap),) = model.asked
        assert [(list(s.tokens), s.start, s.slot, s.logits, s.group) for s in taken] == [
            ([5, 7, 9], 0, 16, False, 1),
            ([3], 4, 0, True, 0),
        ]
        assert kv is rank.kv
        assert (tap is None) is (rank is not ranks[0])  # the states are of use on the first rank alone
        assert rank.meter.compute_s > 0
    assert executor.logits(torch.ones(1)) == 2
    assert (executor.shape, executor.info) == (SHAPE, "info")
    assert len(wire.sent) == 1, "the first rank makes logits of states alone"


@pytest.mark.parametrize("reason", ["Rank 2 (pid 7 on node 0) was ended by SIGKILL.", ""])
def test_a_pass_that_breaks_says_which_rank_is_gone_where_that_is_known(reason: str) -> None:
    reports: list[Report] = []
    first, wire = rank_of(0, reports), Wire(reason=reason)
    first.executor = Model(fails=True)
    with pytest.raises(RankError) as caught:
        RankedExecutor(first, wire).forward([TokenSpan([1], 0, 0, True)], first.kv)
    assert str(caught.value) == (reason or "Another rank is gone.")


def test_profiles_are_begun_and_ended_on_all_ranks() -> None:
    reports: list[Report] = []
    profilers = [Profiler(), Profiler()]
    first, second = (rank_of(number, reports, profilers[number]) for number in range(2))
    executor = RankedExecutor(first, Wire([second]))
    executor.profile("/traces")
    assert reports == []
    executor.profile("")
    assert [profiler.folders for profiler in profilers] == [["/traces", ""]] * 2
    assert sorted(report.rank for report in reports if isinstance(report, Profiled)) == [0, 1]
    assert Wire([second]).send(Profile("/more")) is None


def test_a_profile_has_the_steps_that_a_rank_was_told_to_compute() -> None:
    profiler = Profiler()
    _, second = (rank_of(number, [], profiler) for number in range(2))
    wire = Wire([second])
    steps = [Compute((SpanOrder((1,) * tokens, 0, 0, True, 0),)) for tokens in (3, 1)]
    wire.send(steps[0])
    profiler.spans.begin()
    for step in steps:
        wire.send(step)
    assert [(kind, name) for kind, name, *_ in profiler.spans.take()] == [
        ("compute", "prefill step"),
        ("compute", "decode step"),
    ], "nothing of the time before it began"


def test_waiting_in_several_groups_adds_up() -> None:
    meter = Meter()
    first: Any = Group()
    second: Any = Group()
    meter.exchanges_in(first)
    first.waited_s = 2.0
    meter.exchanges_in(second)
    second.waited_s = 0.5
    assert meter.wait_s == 2.5
    assert meter.pulse(3).rank == 3 and meter.pulse(3).wait_s == 2.5
    assert (meter.pulse(3).bounce, meter.pulse(3, 7).bounce) == (0, 7)
