from __future__ import annotations

import zlib

import pytest
import torch
from pdpanel.engine.page_checks import CANARY, PageChecks, PageDigests, in_order
from pdpanel.engine.pages import Owner, PagePool, Run

PAGES = 8


class Checked:
    """A pool, its memory and what the checks told."""

    def __init__(self) -> None:
        self.staging = torch.zeros((PAGES, 2, 2, 1, 4, 3), dtype=torch.bfloat16)
        self.pool = PagePool(PAGES)
        self.told: list[int] = []
        self.checks = PageChecks(self.staging, self.pool, self.told.append)

    def step(self) -> None:
        self.checks.before_actions()
        self.checks.after_actions()

    def give(self, room: int, pages: int) -> tuple[Run, ...]:
        runs = self.pool.alloc(pages, Owner.writer(room))
        assert runs is not None
        self.step()
        return runs

    def take_back(self, room: int, runs: tuple[Run, ...]) -> None:
        self.pool.release(runs, Owner.writer(room))
        self.step()


def test_a_page_is_filled_when_it_becomes_free_and_not_before() -> None:
    it = Checked()
    runs = it.give(1, 3)
    assert not it.staging.any()
    it.staging[0:3] = 7.0
    it.take_back(1, runs)
    assert (it.staging[0:3].view(torch.uint8) == CANARY).all()
    assert not it.staging[3:].any()  # never given out: costs no memory
    it.checks.when_idle()
    assert it.told == []


def test_the_owner_may_write_what_it_likes() -> None:
    it = Checked()
    it.take_back(1, it.give(1, 2))
    runs = it.give(2, 2)
    it.staging[0:2] = 1.0
    it.checks.when_idle()
    it.take_back(2, runs)
    it.give(3, 2)
    assert it.told == []


@pytest.mark.parametrize("noticed_by", ["idle", "owner"])
def test_a_write_after_the_page_became_free_is_told_once(noticed_by: str) -> None:
    it = Checked()
    it.take_back(1, it.give(1, 2))
    it.staging[1].view(torch.uint8).view(-1)[5] = CANARY ^ 1
    if noticed_by == "idle":
        it.checks.when_idle()
        it.checks.when_idle()
    it.give(2, 2)
    assert it.told == [1]


def test_a_page_in_quarantine_may_still_be_written() -> None:
    it = Checked()
    runs = it.give(1, 2)
    it.pool.quarantine(runs, Owner.writer(1))
    it.step()
    it.staging[0] = 3.0
    it.checks.when_idle()
    it.pool.drain(Owner.writer(1))
    it.step()
    it.checks.when_idle()
    assert it.told == []
    it.staging[0] = 3.0
    it.checks.when_idle()
    assert it.told == [1]


def test_checksums_are_those_of_the_bytes_and_follow_the_page_over_the_wire() -> None:
    staging = torch.arange(PAGES * 4, dtype=torch.float32).view(PAGES, 1, 1, 1, 1, 4)
    digests = PageDigests(staging)
    assert digests.of([Run(5, 1)]) == (zlib.crc32(staging[5].numpy().tobytes()),)
    sent = digests.written(source=[Run(2, 2), Run(6, 1)], target=[Run(4, 1), Run(0, 2)])
    received = torch.zeros_like(staging)
    received[4], received[0], received[1] = staging[2], staging[3], staging[6]
    granted = [Run(4, 1), Run(0, 2)]
    assert in_order(sent, granted) == PageDigests(received).of(granted)
    received[0, 0, 0, 0, 0, 0] += 1
    assert in_order(sent, granted) != PageDigests(received).of(granted)
    assert in_order({}, granted) == ()
