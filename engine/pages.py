"""Physical KV pages and who may still touch them.

A page is free only when no request reads it, no prefix keeps it and no peer may write it: when its set of owners
is empty and it is not in quarantine. Runs of consecutive pages are preferred, low addresses first, so that
transfers are few and large and resident memory stays small. Knows nothing of tensors or networks; the cores are
its callers.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from .errors import LocalProtocolError

__all__ = ["Owner", "PagePool", "PageStatistics", "Run", "Runs"]


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """`count` consecutive pages from `start` on."""

    start: int
    count: int

    @property
    def stop(self) -> int:
        """The page after the last."""
        return self.start + self.count


Runs = tuple[Run, ...]


class OwnerKind(Enum):
    """Why somebody may touch a page."""

    REQUEST = "request"
    PREFIX = "prefix"
    WRITER = "writer"


@dataclass(frozen=True, slots=True)
class Owner:
    """One claim on pages: a request by its key, a prefix by its node, a remote writer by its room."""

    kind: OwnerKind
    key: int

    @classmethod
    def request(cls, key: int) -> Owner:
        """The request with this key reads or writes the pages itself."""
        return cls(OwnerKind.REQUEST, key)

    @classmethod
    def prefix(cls, node: int) -> Owner:
        """The prefix cache keeps the pages for later requests."""
        return cls(OwnerKind.PREFIX, node)

    @classmethod
    def writer(cls, room: int) -> Owner:
        """A peer may write the pages on behalf of this room."""
        return cls(OwnerKind.WRITER, room)


@dataclass(frozen=True, slots=True)
class PageStatistics:
    """Pages of a pool by state; free + held + quarantined = total."""

    total: int
    free: int
    held: int
    quarantined: int


class PagePool:
    """A fixed number of pages.

    Args:
        total: pages in the pool.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free: list[Run] = [Run(0, total)] if total else []
        self._owners: list[int] = [0] * total
        self._held: dict[Owner, list[Run]] = {}
        self._quarantined: dict[Owner, list[Run]] = {}

    @property
    def free(self) -> int:
        """Pages that nobody may touch."""
        return sum(run.count for run in self._free)

    @property
    def free_runs(self) -> Runs:
        """The pages that nobody may touch, in ascending order."""
        return tuple(self._free)

    def statistics(self) -> PageStatistics:
        """Returns how many pages are in which state."""
        quarantined = sum(run.count for runs in self._quarantined.values() for run in runs)
        free = self.free
        return PageStatistics(self.total, free, self.total - free - quarantined, quarantined)

    def owns(self, owner: Owner) -> bool:
        """Returns True when the owner holds pages, or has some in quarantine."""
        return owner in self._held or owner in self._quarantined

    @property
    def holders(self) -> frozenset[Owner]:
        """Who holds pages now."""
        return frozenset(self._held)

    @property
    def fenced(self) -> frozenset[Owner]:
        """Whose pages are in quarantine."""
        return frozenset(self._quarantined)

    def owners(self, page: int) -> frozenset[Owner]:
        """Returns who may touch a page, those whose claim is a quarantine included."""
        claims = (*self._held.items(), *self._quarantined.items())
        return frozenset(owner for owner, runs in claims if any(run.start <= page < run.stop for run in runs))

    def alloc(self, count: int, owner: Owner, *, contiguous: bool = False) -> Runs | None:
        """Gives `count` pages to `owner`: one run if there is one (best fit, lowest first), else several.

        Args:
            count: pages, at least 1.
            owner: who holds them from now on.
            contiguous: never split.

        Returns:
            the runs in ascending order, or None, and nothing given, when the pool cannot serve it.
        """
        assert count > 0, count
        fitting = [run for run in self._free if run.count >= count]
        if fitting:
            best = min(fitting, key=lambda run: (run.count, run.start))
            taken = [Run(best.start, count)]
        elif contiguous or self.free < count:
            return None
        else:
            # The fewest pieces: longest runs first, the last one cut.
            taken, missing = [], count
            for run in sorted(self._free, key=lambda run: (-run.count, run.start)):
                taken.append(Run(run.start, min(run.count, missing)))
                missing -= taken[-1].count
                if not missing:
                    break
            taken.sort()
        for run in taken:
            self._cut(run)
        self._give(taken, owner)
        return tuple(taken)

    def extend(self, run: Run, count: int, owner: Owner) -> bool:
        """Grows a run that `owner` holds by the `count` pages behind it, if all of them are free.

        Raises:
            LocalProtocolError: the owner does not hold the run's last page.
        """
        if not any(held.start < run.stop <= held.stop for held in self._held.get(owner, ())):
            raise LocalProtocolError(f"{owner} cannot extend {run}, which it does not hold.")
        more = Run(run.stop, count)
        place = bisect_left(self._free, Run(more.start, 0))
        if place == len(self._free) or self._free[place].start != more.start or self._free[place].count < count:
            return False
        self._cut(more)
        self._give([more], owner)
        return True

    def share(self, runs: Iterable[Run], owner: Owner) -> None:
        """Adds `owner` to pages that somebody else holds already.

        Raises:
            LocalProtocolError: nobody holds one of them, or the owner does already.
        """
        runs = list(runs)
        if any(not self._owners[page] for run in runs for page in range(run.start, run.stop)):
            raise LocalProtocolError(f"{owner} cannot share pages that nobody holds.")
        claims = sorted([*self._held.get(owner, ()), *runs])
        if any(left.stop > right.start for left, right in pairwise(claims)):
            raise LocalProtocolError(f"{owner} cannot hold a page twice.")
        self._give(runs, owner)

    def release(self, runs: Iterable[Run], owner: Owner) -> None:
        """Ends the owner's claim on the runs; pages without any other owner become free.

        Raises:
            LocalProtocolError: the owner does not hold all of them.
        """
        for run in runs:
            self._forget(run, owner)
            self._drop(run)

    def quarantine(self, runs: Iterable[Run], owner: Owner) -> None:
        """Turns the owner's claim into a quarantine: the pages come back by `drain` alone."""
        for run in runs:
            self._forget(run, owner)
            self._quarantined.setdefault(owner, []).append(run)

    def drain(self, owner: Owner) -> None:
        """The owner can touch its quarantined pages no more; without any they were drained before."""
        for run in self._quarantined.pop(owner, ()):
            self._drop(run)

    def check(self) -> None:
        """Raises LocalProtocolError unless every page is accounted for exactly once."""
        counted = [0] * self.total
        for claims in (self._held, self._quarantined):
            for runs in claims.values():
                for run in runs:
                    for page in range(run.start, run.stop):
                        counted[page] += 1
        if counted != self._owners:
            raise LocalProtocolError("The page pool's owner counts do not match its claims.")
        seen = 0
        for run in self._free:
            if run.start < seen or any(self._owners[page] for page in range(run.start, run.stop)):
                raise LocalProtocolError(f"The page pool's free run {run} overlaps another or is owned.")
            seen = run.stop
        if self.free != self._owners.count(0):
            raise LocalProtocolError(f"The page pool lost {self._owners.count(0) - self.free} pages.")

    def _give(self, runs: list[Run], owner: Owner) -> None:
        for run in runs:
            for page in range(run.start, run.stop):
                self._owners[page] += 1
        self._held.setdefault(owner, []).extend(runs)

    def _forget(self, run: Run, owner: Owner) -> None:
        """Removes `run` from the owner's claims; it may be part of a claim, or span several."""
        left: list[Run] = []
        found = 0
        for held in self._held.get(owner, ()):
            start, stop = max(held.start, run.start), min(held.stop, run.stop)
            if start >= stop:
                left.append(held)
                continue
            found += stop - start
            left.extend(Run(a, b - a) for a, b in ((held.start, start), (stop, held.stop)) if b > a)
        if found != run.count:
            raise LocalProtocolError(f"{owner} does not hold all pages of {run}.")
        if left:
            self._held[owner] = left
        else:
            del self._held[owner]

    def _drop(self, run: Run) -> None:
        start = None
        for page in range(run.start, run.stop + 1):
            if page < run.stop:
                self._owners[page] -= 1
            empty = page < run.stop and not self._owners[page]
            if empty and start is None:
                start = page
            elif not empty and start is not None:
                self._put_back(Run(start, page - start))
                start = None

    def _put_back(self, run: Run) -> None:
        place = bisect_left(self._free, run)
        if place < len(self._free) and self._free[place].start == run.stop:
            run = Run(run.start, run.count + self._free.pop(place).count)
        if place and self._free[place - 1].stop == run.start:
            before = self._free.pop(place - 1)
            run = Run(before.start, before.count + run.count)
        insort(self._free, run)

    def _cut(self, run: Run) -> None:
        place = bisect_left(self._free, Run(run.start + 1, 0)) - 1
        whole = self._free.pop(place)
        if run.stop < whole.stop:
            self._free.insert(place, Run(run.stop, whole.stop - run.stop))
        if whole.start < run.start:
            self._free.insert(place, Run(whole.start, run.start - whole.start))
