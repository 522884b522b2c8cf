"""Who uses which part of the bounce area: the staging memory where slices of pages are gathered before they travel.

The area is counted in heads of pages, the unit that slices of any width consist of. Pure: no memory, no locks, no clock
(`now` is passed in, in seconds); one rank's carrier calls it.
"""

from __future__ import annotations

from ..pages import Run, Runs

__all__ = ["Bounce"]


class Bounce:
    """`size` heads of pages, given out in runs to tickets that return them in any order."""

    def __init__(self, size: int) -> None:
        self._free: list[Run] = [Run(0, size)] if size else []
        self._taken: dict[int, list[Run]] = {}
        self._held: dict[int, float] = {}  # ticket -> when what may still be read is read no more

    @property
    def free(self) -> int:
        """Heads of pages that can be had."""
        return sum(run.count for run in self._free)

    def in_use(self, now: float) -> int:
        """Returns how many heads of pages somebody may still write or read."""
        over = (ticket for ticket, until in self._held.items() if now >= until)
        back = sum(run.count for ticket in over for run in self._taken[ticket])
        return sum(run.count for runs in self._taken.values() for run in runs) - back

    def take(self, ticket: int, pages: int, width: int, now: float) -> Runs:
        """Gives a ticket room for pages of `width` heads, in as few runs as there can be.

        Returns:
            runs of whole pages, together `pages` of them or as many as there is room for.
        """
        for held in [held for held, until in self._held.items() if now >= until]:
            self.release(held)
        runs: list[Run] = []
        while pages and (run := self._best(pages * width)) is not None and run.count >= width:
            count = min(pages, run.count // width)
            runs.append(Run(run.start, count * width))
            self._cut(run, count * width)
            pages -= count
        if runs:
            self._taken.setdefault(ticket, []).extend(runs)
        return tuple(runs)

    def release(self, ticket: int) -> None:
        """Takes back what the ticket has; one that has nothing is no error."""
        self._held.pop(ticket, None)
        for run in self._taken.pop(ticket, ()):
            self._free.append(run)
        merged: list[Run] = []
        for run in sorted(self._free):
            if merged and merged[-1].stop == run.start:
                run = Run(merged[-1].start, merged.pop().count + run.count)
            merged.append(run)
        self._free = merged

    def hold(self, ticket: int, until: float) -> None:
        """Has what the ticket has come back by itself, at a `take` from then on."""
        if ticket in self._taken:
            self._held[ticket] = until

    def _best(self, size: int) -> Run | None:
        """Returns the smallest free run that `size` fits into, else the largest one."""
        fitting = [run for run in self._free if run.count >= size]
        if fitting:
            return min(fitting, key=lambda run: (run.count, run.start))
        return max(self._free, key=lambda run: (run.count, -run.start), default=None)

    def _cut(self, run: Run, count: int) -> None:
        place = self._free.index(run)
        rest = Run(run.start + count, run.count - count)
        self._free[place : place + 1] = [rest] if rest.count else []
