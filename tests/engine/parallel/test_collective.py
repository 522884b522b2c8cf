"""Operations among ranks, over real gloo groups in threads; and that a rank that leaves fails all others at once."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from threading import Event, Thread

import pytest
import torch
from pdpanel.engine.errors import PdpanelError, RankError
from pdpanel.engine.parallel.collective import Collective, GroupCollective, SingleRank, open_collective
from rank_world import RankWorld
from torch._C._distributed_c10d import HashStore

WORLDS = {f"{size} over gloo": (size, True) for size in (1, 2, 3, 4)} | {"3 pretended": (3, False)}
"""What other tests take for a group does the same."""


@pytest.fixture(scope="module", params=WORLDS)
def world(request: pytest.FixtureRequest) -> Iterator[RankWorld]:
    size, real = WORLDS[request.param]
    world = RankWorld(size, real=real)
    yield world
    world.close()


def test_ranks_know_who_they_are(world: RankWorld) -> None:
    assert [(one.rank, one.size) for one in world.collectives] == [(rank, world.size) for rank in range(world.size)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_a_sum_is_made_in_place_and_has_the_same_bits_everywhere(world: RankWorld, dtype: torch.dtype) -> None:
    def work(collective: Collective) -> torch.Tensor:
        own = (torch.arange(21).view(3, 7) * 10**collective.rank).to(dtype)
        assert collective.all_reduce(own) is own
        return own

    sums = world.run(work)
    expected = sum(torch.arange(21).view(3, 7) * 10**rank for rank in range(world.size))
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(sums[0], expected.to(dtype), rtol=1e-2, atol=1e-2)
    assert all(torch.equal(one, sums[0]) for one in sums)


@pytest.mark.parametrize("everywhere", [False, True])
def test_blocks_of_different_widths_come_together_in_order(world: RankWorld, everywhere: bool) -> None:
    widths = [3, 1, 0, 5][: world.size]
    whole = torch.randn(4, sum(widths))

    def work(collective: Collective) -> torch.Tensor | None:
        own = whole.split(widths, dim=1)[collective.rank].contiguous()
        return collective.gather(own, widths, everywhere=everywhere)

    for rank, made in enumerate(world.run(work)):
        if rank and not everywhere:
            assert made is None
        else:
            assert made is not None and torch.equal(made, whole)


def test_tensors_of_one_shape_are_gathered_everywhere(world: RankWorld) -> None:
    made = world.run(lambda collective: collective.all_gather(torch.full((2, 3), float(collective.rank))))
    expected = torch.arange(world.size).float().view(-1, 1, 1).expand(-1, 2, 3)
    assert all(torch.equal(one, expected) for one in made)


def test_rows_go_to_whom_they_are_for(world: RankWorld) -> None:
    """Rank s sends (s + 2 d) mod 3 rows to rank d, none in places; each row says whence, whither and which it is."""

    def rows(source: int, target: int) -> list[list[int]]:
        return [[source, target, index] for index in range((source + 2 * target) % 3)]

    def work(collective: Collective) -> list[list[int]]:
        ranks, own = range(collective.size), collective.rank
        sent = [row for target in ranks for row in rows(own, target)]
        sends = [len(rows(own, target)) for target in ranks]
        receives = [len(rows(source, own)) for source in ranks]
        made = collective.all_to_all(torch.tensor(sent).view(-1, 3), sends, receives)
        return made.tolist()

    for rank, made in enumerate(world.run(work)):
        assert made == [row for source in range(world.size) for row in rows(source, rank)]


def test_one_rank_tells_all(world: RankWorld) -> None:
    root = world.size - 1
    made = world.run(lambda collective: collective.broadcast(torch.full((5,), float(collective.rank)), root).tolist())
    assert made == [[float(root)] * 5] * world.size


def test_time_in_operations_is_counted() -> None:
    world = RankWorld(2)
    before = [collective.waited_s for collective in world.collectives]
    world.run(lambda collective: collective.all_reduce(torch.zeros(8)))
    assert all(one.waited_s > early for one, early in zip(world.collectives, before, strict=True))
    world.close()


def test_a_rank_that_leaves_fails_all_others_at_once_and_they_go_on_in_another_group() -> None:
    """Not after the timeout: each rank that fails closes its own connections, which those that wait for it see."""
    world = RankWorld(4, timeout_s=100)
    try:

        def work(collective: Collective) -> str:
            if collective.rank == 3:
                collective.close()
            try:
                for _ in range(3):
                    collective.all_reduce(torch.zeros(4))
            except RankError as error:
                return str(error)
            return ""

        errors = world.run(work)
        assert all(error.startswith(f"Rank {rank} of 4 could not sum 4 numbers: ") for rank, error in enumerate(errors))
        assert all("is gone" in error for error in errors[:3]), errors
        world.collectives = world.join("second", 3)
        sums = world.run(lambda collective: collective.all_reduce(torch.ones(2)).tolist())
        assert sums == [[3.0, 3.0]] * 3
    finally:
        world.close()


def test_a_rank_that_answers_too_late_is_waited_for_as_long_as_was_said() -> None:
    world = RankWorld(2, timeout_s=0.3)
    try:
        first = world.collectives[0]
        with pytest.raises(
            RankError, match=r"Rank 0 of 2 could not sum 4 numbers: another rank did not answer within 0.3"
        ):
            first.all_reduce(torch.zeros(4))
        with pytest.raises(RankError, match="the group was left before"):
            first.all_reduce(torch.zeros(4))
    finally:
        world.close()


class Standing:
    """An operation that lasts until it is told to end."""

    def __init__(self) -> None:
        self.begun, self.may_end = Event(), Event()

    def wait(self) -> None:
        self.begun.set()
        assert self.may_end.wait(60)


class StandingGroup:
    """A group of such operations."""

    def __init__(self, operation: Standing) -> None:
        self._operation = operation

    def allreduce(self, tensors: list[torch.Tensor]) -> Standing:
        return self._operation


def test_leaving_while_an_operation_waits_in_another_thread_waits_for_nothing() -> None:
    """Torch's own end of a group waits for what is under way, and lets no other thread run meanwhile."""
    operation = Standing()
    group = StandingGroup(operation)
    held = weakref.ref(group)
    collective = GroupCollective(group, 0, 2, staged=True, timeout_s=1)
    del group
    waiting = Thread(target=collective.all_reduce, args=(torch.zeros(4),))
    waiting.start()
    assert operation.begun.wait(60)
    collective.close()
    assert waiting.is_alive()
    assert held() is not None
    operation.may_end.set()
    waiting.join(60)
    assert held() is None
    with pytest.raises(RankError, match="the group was left before"):
        collective.all_reduce(torch.zeros(4))


def test_a_group_without_one_of_its_ranks_is_no_group() -> None:
    with pytest.raises(RankError, match=r"Rank 0 of 2 found no group with the others at 127.0.0.1: another rank did"):
        open_collective(HashStore(), "alone", 0, 2, host="127.0.0.1", timeout_s=0.3)


def test_an_address_of_another_host_is_refused_in_one_sentence() -> None:
    with pytest.raises(RankError, match=r"^Rank 0 of 2 found no group with the others at 192\.0\.2\.1: [^\n]*\.$"):
        open_collective(HashStore(), "elsewhere", 0, 2, host="192.0.2.1", timeout_s=0.3)


def test_gpus_without_nccl_are_refused() -> None:
    if torch.distributed.is_nccl_available():
        pytest.skip("this torch has NCCL")
    with pytest.raises(PdpanelError, match="--tp-size = 2: several GPUs need NCCL"):
        open_collective(HashStore(), "gpus", 0, 2, host="127.0.0.1", backend="nccl")


def test_one_rank_needs_neither_store_nor_group() -> None:
    assert isinstance(open_collective(HashStore(), "one", 0, 1, host="nowhere"), SingleRank)
