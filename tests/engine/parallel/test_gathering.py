"""Slices in bounce memory: the right heads in the right place, room that is waited for, and what may still be read."""

from __future__ import annotations

import threading
from dataclasses import replace

import torch
from pdpanel.engine.kv import KVCache, bounce_pages_of
from pdpanel.engine.pages import Run
from pdpanel.engine.parallel.gathering import Gathering
from pdpanel.engine.parallel.joint import failed, nothing
from pdpanel.engine.transfer.heads import Spot
from rank_pair import SHAPE

PAGE_HEAD = SHAPE.layers * 2 * 4 * SHAPE.head_dim * 4  # bytes of one head of one page


def memory(bounce: int) -> KVCache:
    shape = replace(SHAPE, heads=12, kv_heads=3)
    kv = KVCache(shape, pages=6, page_size=4, dtype=torch.float32, staging=True, bounce_pages=bounce)
    kv.staging.copy_(torch.arange(kv.staging.numel()).view(kv.staging.shape))
    return kv


def test_slices_follow_one_another_in_the_order_of_pages() -> None:
    kv = memory(2)
    pages = kv.staging[[4, 1, 2]].clone()
    (spot,) = Gathering(kv, 30.0).gather(1, (Run(4, 1), Run(1, 2)), range(1, 3))
    assert spot == Spot(6 * 3 * PAGE_HEAD, 3)
    found = kv.staging.view(-1)[spot.offset // 4 :][: 3 * 2 * PAGE_HEAD // 4]
    assert torch.equal(found.view(3, *pages.shape[1:3], 2, *pages.shape[4:]), pages[:, :, :, 1:3])


def test_memory_that_was_made_in_inference_mode_is_written_outside_of_it() -> None:
    with torch.inference_mode():
        kv = memory(2)
    assert Gathering(kv, 30.0).gather(1, (Run(4, 1),), range(1, 3))


def test_as_many_pages_as_there_is_room_for() -> None:
    gathering = Gathering(memory(1), 30.0)
    assert gathering.pages_at_once(2) == 1
    assert gathering.gather(1, (Run(0, 3),), range(2)) == (Spot(6 * 3 * PAGE_HEAD, 1),)
    assert gathering.gather(2, (Run(0, 3),), range(1)) == (Spot((6 * 3 + 2) * PAGE_HEAD, 1),)
    gathering.await_room(3)  # nobody returns any; it is waited for a moment only
    assert gathering.gather(3, (Run(0, 3),), range(1)) == ()


def test_slices_are_gathered_into_the_room_that_there_is_in_several_places() -> None:
    kv = memory(3)
    gathering = Gathering(kv, 30.0)
    for key, width in ((1, 2), (2, 1), (3, 2), (4, 1), (5, 2)):
        gathering.gather(key, (Run(0, 1),), range(width))
    for key in (1, 3, 5):
        gathering.free(key, nothing(key, 0))
    pages = kv.staging[[5, 3, 4]].clone()
    spots = gathering.gather(6, (Run(5, 1), Run(3, 2)), range(1, 3))
    assert [spot.pages for spot in spots] == [1, 1, 1]
    for page, spot in zip(pages, spots, strict=True):
        found = kv.staging.view(-1)[spot.offset // 4 :][: 2 * PAGE_HEAD // 4]
        assert torch.equal(found.view(*page.shape[:2], 2, *page.shape[3:]), page[:, :, 1:3])


def test_room_that_comes_back_is_used_again_unless_it_may_still_be_read() -> None:
    gathering = Gathering(memory(1), 30.0)
    gathering.gather(1, (Run(0, 1),), range(3))
    freeing = threading.Thread(target=gathering.free, args=(1, nothing(1, 0)))
    freeing.start()
    freeing.join()
    gathering.await_room(3)
    assert sum(spot.pages for spot in gathering.gather(2, (Run(0, 1),), range(3))) == 1
    gathering.free(2, failed(2, 0, "lost", quiet=False))
    assert gathering.gather(3, (Run(0, 1),), range(3)) == ()


def test_without_bounce_memory_nothing_is_cut_and_nothing_waited_for() -> None:
    gathering = Gathering(memory(0), 30.0)
    assert gathering.pages_at_once(3) > 1 << 30
    gathering.await_room(3)
    assert gathering.gather(1, (Run(0, 2),), range(2)) == ()


def test_a_worker_has_a_small_share_of_its_pool_for_slices() -> None:
    assert [bounce_pages_of(pages) for pages in (1, 64, 512, 100_000)] == [8, 8, 64, 256]
