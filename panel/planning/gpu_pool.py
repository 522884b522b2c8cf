"""The GPUs of one machine: which are given out, and where the next ones are. Pure."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["GpuPool"]


class GpuPool:
    """GPUs by index; a machine whose number of them is not known has any.

    Attributes:
        total: how many there are; None is not known.
    """

    def __init__(self, total: int | None) -> None:
        self.total = total
        self._owners: dict[int, str] = {}
        self._uses: dict[int, int] = {}
        self._low = 0

    @property
    def left(self) -> int | None:
        """How many are not given out; None is not known."""
        return None if self.total is None else self.total - len(self._owners)

    def owner(self, gpus: Sequence[int]) -> str | None:
        """Returns who has one of `gpus`, None when all are free."""
        return next((self._owners[gpu] for gpu in gpus if gpu in self._owners), None)

    def exists(self, gpus: Sequence[int]) -> bool:
        """Returns False when one of `gpus` is known not to be there."""
        return self.total is None or all(gpu < self.total for gpu in gpus)

    def give(self, gpus: Sequence[int], owner: str) -> None:
        """Gives out `gpus`."""
        for gpu in gpus:
            self._owners[gpu] = owner
            self._uses[gpu] = self._uses.get(gpu, 0) + 1
        while self._low in self._owners:
            self._low += 1

    def least_used(self, count: int = 1) -> tuple[int, ...]:
        """Returns the `count` GPUs that were given to the fewest, the first of them; all where there are not so many.

        None where it has none, or nobody knows.
        """
        gpus = sorted(range(self.total or 0), key=lambda gpu: self._uses.get(gpu, 0))
        return tuple(sorted(gpus[:count]))

    def neighbours(self, count: int) -> tuple[int, ...] | None:
        """Returns the first `count` free GPUs that lie side by side, None when there are none."""
        start = self._low
        run = 0
        while self.total is None or start + count <= self.total:
            if start + run in self._owners:
                start, run = start + run + 1, 0
                continue
            run += 1
            if run == count:
                return tuple(range(start, start + count))
        return None

    def among(self, allowed: Sequence[int], count: int, *, side_by_side: bool) -> tuple[int, ...] | None:
        """Returns the first `count` free GPUs of `allowed`, in its order, None when there are too few."""
        free = [gpu for gpu in allowed if gpu not in self._owners]
        if not side_by_side:
            return tuple(free[:count]) if len(free) >= count else None
        free.sort()
        for first in range(len(free) - count + 1):
            if free[first + count - 1] - free[first] == count - 1:
                return tuple(free[first : first + count])
        return None

    def any_free(self, count: int) -> tuple[int, ...] | None:
        """Returns the first `count` free GPUs, wherever they lie, None when there are too few."""
        return (
            self.neighbours(count) if self.total is None else self.among(range(self.total), count, side_by_side=False)
        )
