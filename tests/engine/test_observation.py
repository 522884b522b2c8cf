"""What a worker says of its queues and pools: each attention group's and the sums."""

from __future__ import annotations

from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.lifecycle import DECODE
from pdpanel.engine.observation import cores_of, observe
from pdpanel.engine.pages import PagePool
from pdpanel.engine.parallel.balance import Balancer, LoadBalance
from pdpanel.engine.parallel.groups import DecodeGroups
from pdpanel.engine.request import Bootstrap, GenerateRequest
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.statistics import PoolStatistics

PAGE, PAGES = 4, 8


def core() -> DecodeCore:
    schedule = Schedule(PagePool(PAGES), page_size=PAGE, chunk_tokens=16, max_running=2, reserve_tokens=4)
    return DecodeCore(schedule, PagePool(PAGES), staging_share=1.0, waiting_timeout_s=9, fence_s=9)


def sequence(room: int) -> Sequence:
    request = GenerateRequest(f"r{room}", tuple(range(PAGE)), bootstrap=Bootstrap("127.0.0.1", 1, room))
    return Sequence(room, request, DECODE, 0, PAGE + 4, frozenset(), list(range(PAGE)), DECODE.start, peer="P")


def test_groups_stand_beside_their_sums() -> None:
    joined = DecodeGroups((core(), core()), Balancer(LoadBalance.FOLLOW_BOOTSTRAP_ROOM))
    for room in (1, 3, 5, 2):
        joined.submit(sequence(room), 0.0)
    now = observe(joined, PAGE)
    assert [group.transfer_queue for group in now.groups] == [1, 2] and now.transfer_queue == 3
    assert [group.prealloc_queue for group in now.groups] == [0, 1] and now.queued == 1
    assert now.groups[0].slot == PoolStatistics(PAGES, PAGES - 2, 2, 0)
    assert now.slot == PoolStatistics(2 * PAGES, 2 * PAGES - 6, 6, 0)
    assert now.staging == PoolStatistics(2 * PAGES, 2 * PAGES - 3, 3, 0)
    assert (now.used_tokens, now.max_total_tokens) == (6 * PAGE, 2 * PAGES * PAGE)
    assert not any(group.groups for group in now.groups)
    assert now.open.rooms == 4 and [group.open.rooms for group in now.groups] == [1, 3]


def test_a_worker_without_groups_has_none() -> None:
    alone = core()
    alone.submit(sequence(1), 0.0)
    now = observe(alone, PAGE)
    assert (now.groups, now.transfer_queue) == ((), 1)
    assert list(cores_of(alone)) == [alone]
