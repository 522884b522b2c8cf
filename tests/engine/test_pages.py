"""The page pool against a naive model: a set of owners and a set of fences per page."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pdpanel.engine.errors import LocalProtocolError
from pdpanel.engine.pages import Owner, PagePool, Run, Runs

A, B, ROOM = Owner.request(1), Owner.request(2), Owner.writer(7)


def pages_of(runs: Runs) -> list[int]:
    return [page for run in runs for page in range(run.start, run.stop)]


def state(pool: PagePool) -> tuple[int, int, int]:
    numbers = pool.statistics()
    assert numbers.free + numbers.held + numbers.quarantined == numbers.total == pool.total
    assert numbers.free == pool.free
    return numbers.free, numbers.held, numbers.quarantined


def runs_of(pages: list[int]) -> Runs:
    """Spells a list of distinct pages as runs, in the list's order."""
    runs: list[Run] = []
    for page in pages:
        if runs and runs[-1].stop == page:
            runs[-1] = Run(runs[-1].start, runs[-1].count + 1)
        else:
            runs.append(Run(page, 1))
    return tuple(runs)


class PoolAgainstModel(RuleBasedStateMachine):
    """Every call leaves the pool in the state that sets of owners per page say."""

    @initialize(total=st.integers(1, 24))
    def start(self, total: int) -> None:
        self.pool = PagePool(total)
        self.owners: list[set[Owner]] = [set() for _ in range(total)]
        self.fences: list[set[Owner]] = [set() for _ in range(total)]
        self.next_key = 0

    def free_pages(self) -> list[int]:
        pairs = enumerate(zip(self.owners, self.fences, strict=True))
        return [page for page, (owners, fences) in pairs if not owners and not fences]

    def free_runs(self) -> Runs:
        return runs_of(self.free_pages())

    def holders(self) -> list[Owner]:
        return sorted(set().union(*self.owners), key=lambda owner: (owner.kind.value, owner.key))

    def held_by(self, owner: Owner) -> list[int]:
        return [page for page, owners in enumerate(self.owners) if owner in owners]

    def some_of(self, data: st.DataObject) -> tuple[Owner, list[int]]:
        owner = data.draw(st.sampled_from(self.holders()))
        held = self.held_by(owner)
        return owner, data.draw(st.lists(st.sampled_from(held), unique=True, min_size=1))

    @rule(count=st.integers(1, 26), contiguous=st.booleans(), writer=st.booleans())
    def alloc(self, count: int, contiguous: bool, writer: bool) -> None:
        self.next_key += 1
        owner = Owner.writer(self.next_key) if writer else Owner.request(self.next_key)
        free = self.free_runs()
        runs = self.pool.alloc(count, owner, contiguous=contiguous)
        fitting = [run for run in free if run.count >= count]
        if fitting:
            best = min(fitting, key=lambda run: (run.count, run.start))
            assert runs == (Run(best.start, count),)
        elif contiguous or sum(run.count for run in free) < count:
            assert runs is None
        else:
            assert runs is not None
            assert len(pages_of(runs)) == count
            # No set of fewer free runs would hold as many pages.
            fewer = sorted((run.count for run in free), reverse=True)[: len(runs) - 1]
            assert sum(fewer) < count
        for page in pages_of(runs or ()):
            assert not self.owners[page] and not self.fences[page]
            self.owners[page].add(owner)

    @precondition(lambda self: self.holders())
    @rule(data=st.data(), count=st.integers(1, 6))
    def extend(self, data: st.DataObject, count: int) -> None:
        owner = data.draw(st.sampled_from(self.holders()))
        run = data.draw(st.sampled_from(runs_of(self.held_by(owner))))
        more = range(run.stop, run.stop + count)
        possible = set(more) <= set(self.free_pages())
        assert self.pool.extend(run, count, owner) is possible
        for page in more if possible else ():
            self.owners[page].add(owner)

    @precondition(lambda self: self.holders())
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        _, pages = self.some_of(data)
        self.next_key += 1
        owner = Owner.prefix(self.next_key)
        self.pool.share(runs_of(pages), owner)
        for page in pages:
            self.owners[page].add(owner)

    @precondition(lambda self: self.holders())
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        owner, pages = self.some_of(data)
        self.pool.release(runs_of(pages), owner)
        for page in pages:
            self.owners[page].remove(owner)

    @precondition(lambda self: self.holders())
    @rule(data=st.data())
    def quarantine(self, data: st.DataObject) -> None:
        owner, pages = self.some_of(data)
        self.pool.quarantine(runs_of(pages), owner)
        for page in pages:
            self.owners[page].remove(owner)
            self.fences[page].add(owner)

    @precondition(lambda self: any(self.fences))
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        fenced = sorted(set().union(*self.fences), key=lambda owner: (owner.kind.value, owner.key))
        owner = data.draw(st.sampled_from(fenced))
        self.pool.drain(owner)
        for fences in self.fences:
            fences.discard(owner)

    @precondition(lambda self: any(self.fences))
    @rule(data=st.data())
    def release_of_a_fenced_page_is_refused(self, data: st.DataObject) -> None:
        choices = [
            (owner, page)
            for page, fences in enumerate(self.fences)
            for owner in fences
            if owner not in self.owners[page]
        ]
        owner, page = data.draw(st.sampled_from(choices))
        with pytest.raises(LocalProtocolError):
            self.pool.release((Run(page, 1),), owner)

    @invariant()
    def agrees(self) -> None:
        self.pool.check()
        free, _, _ = state(self.pool)
        assert free == len(self.free_pages())
        for key in range(1, self.next_key + 1):
            for owner in (Owner.request(key), Owner.writer(key), Owner.prefix(key)):
                known = any(owner in claims for claims in (*self.owners, *self.fences))
                assert self.pool.owns(owner) is known

    def teardown(self) -> None:
        """Whatever happened: when everybody lets go, every page is free and in one run again."""
        if not hasattr(self, "pool"):
            return
        for owner in self.holders():
            self.pool.release(runs_of(self.held_by(owner)), owner)
        for owner in set().union(*self.fences):
            self.pool.drain(owner)
        self.pool.check()
        assert self.pool.alloc(self.pool.total, A, contiguous=True) == (Run(0, self.pool.total),)


TestPoolAgainstModel = PoolAgainstModel.TestCase
TestPoolAgainstModel.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)


def test_quarantined_pages_are_not_given_out_before_drain() -> None:
    pool = PagePool(8)
    granted = pool.alloc(5, ROOM)
    assert granted is not None
    pool.quarantine(granted, ROOM)
    assert state(pool) == (3, 0, 5)
    assert pool.alloc(4, A) is None
    pool.drain(ROOM)
    pool.drain(ROOM)  # a repeated message changes nothing
    assert state(pool) == (8, 0, 0)
    assert pool.alloc(8, A) == (Run(0, 8),)


def test_a_page_is_free_only_without_any_owner() -> None:
    pool = PagePool(4)
    runs = pool.alloc(4, A)
    assert runs is not None
    pool.share(runs, Owner.prefix(1))
    pool.release(runs, A)
    assert state(pool) == (0, 4, 0)
    pool.release((Run(1, 2),), Owner.prefix(1))
    assert pool.alloc(2, B) == (Run(1, 2),)


def test_low_and_best_fitting_places_come_first() -> None:
    pool = PagePool(20)
    pool.alloc(20, A)
    pool.release((Run(1, 4), Run(8, 2), Run(14, 2)), A)
    assert pool.alloc(2, B) == (Run(8, 2),)
    assert pool.alloc(1, B) == (Run(14, 1),)
    assert pool.alloc(5, B, contiguous=True) is None
    assert pool.alloc(5, B) == (Run(1, 4), Run(15, 1))


@pytest.mark.parametrize(
    ("misuse", "said"),
    [
        (lambda pool: pool.release((Run(0, 4),), B), "does not hold"),
        (lambda pool: pool.release((Run(2, 4),), A), "does not hold"),
        (lambda pool: pool.release((Run(0, 2), Run(1, 2)), A), "does not hold"),
        (lambda pool: pool.quarantine((Run(3, 2),), A), "does not hold"),
        (lambda pool: pool.share((Run(3, 2),), B), "nobody holds"),
        (lambda pool: pool.share((Run(0, 2),), A), "twice"),
        (lambda pool: pool.share((Run(0, 2), Run(1, 1)), B), "twice"),
        (lambda pool: pool.extend(Run(0, 4), 1, B), "does not hold"),
        (lambda pool: pool.extend(Run(0, 6), 1, A), "does not hold"),
    ],
)
def test_misuse_is_named_and_loses_no_page(misuse, said: str) -> None:
    pool = PagePool(8)
    pool.alloc(4, A)
    with pytest.raises(LocalProtocolError, match=said):
        misuse(pool)
    pool.check()


def test_the_integrity_check_sees_a_lost_page() -> None:
    pool = PagePool(8)
    pool.alloc(4, A)
    pool._held[A] = [Run(0, 3)]
    with pytest.raises(LocalProtocolError, match="do not match"):
        pool.check()


def test_the_integrity_check_sees_a_page_that_is_free_and_owned() -> None:
    pool = PagePool(8)
    pool.alloc(4, A)
    pool._free = [Run(3, 5)]
    with pytest.raises(LocalProtocolError, match="owned"):
        pool.check()


def test_an_empty_pool_serves_nobody() -> None:
    pool = PagePool(0)
    assert pool.alloc(1, A) is None
    assert state(pool) == (0, 0, 0)
