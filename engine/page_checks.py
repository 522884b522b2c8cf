"""Check mode: whether the bytes of staging pages are what they must be. Switched on by PDPANEL_CHECK_PAGES=1.

On decode, a page that becomes free is filled with canary bytes; when it is given out again, and while the worker is
idle, they must still be there: else somebody wrote into a page that was his no more. Prefill sends a checksum per page
with its commit, and decode compares. Costs a pass over every page that moves. Called by the step loop alone.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from .log import record
from .pages import PagePool, Run

__all__ = ["CANARY", "PageChecks", "PageDigests", "in_order", "pages_of"]

CANARY = 0xC5


def _as_bytes(staging: Tensor) -> Tensor:
    """Returns staging as [pages, bytes of a page], the same memory."""
    return staging.flatten(1).view(torch.uint8)


def pages_of(runs: Iterable[Run]) -> Iterator[int]:
    """Yields the pages of runs, in order."""
    return (page for run in runs for page in range(run.start, run.stop))


def in_order(digests: Mapping[int, int], runs: Iterable[Run]) -> tuple[int, ...]:
    """Returns the checksums of the pages of the runs, as far as they are known; empty outside check mode."""
    return tuple(digests[page] for page in pages_of(runs) if page in digests) if digests else ()


class PageDigests:
    """Checksums of staging pages.

    Args:
        staging: [pages, layers, K|V, heads, tokens, dim].
    """

    def __init__(self, staging: Tensor) -> None:
        self._bytes = _as_bytes(staging)

    def renew(self, staging: Tensor) -> None:
        """From now on the pages lie in other memory."""
        self._bytes = _as_bytes(staging)

    def of(self, runs: Iterable[Run]) -> tuple[int, ...]:
        """Returns the CRC-32 of each page of the runs, in order."""
        return tuple(zlib.crc32(self._bytes[page].cpu().numpy().data) for page in pages_of(runs))

    def written(self, source: Iterable[Run], target: Iterable[Run]) -> dict[int, int]:
        """Returns the checksums of source pages by the page of the peer that each is written to."""
        return dict(zip(pages_of(target), self.of(source), strict=True))


class PageChecks:
    """Canaries in decode's free staging pages.

    Args:
        staging: [pages, layers, K|V, heads, tokens, dim].
        pool: who owns which of the pages.
        on_late_writes: is told how many pages were written after they had become free.
    """

    def __init__(self, staging: Tensor, pool: PagePool, on_late_writes: Callable[[int], None]) -> None:
        self._bytes = _as_bytes(staging)
        self._pool = pool
        self._on_late_writes = on_late_writes
        self._used = bytearray(pool.total)  # pages that were given out and not filled since
        self._filled = bytearray(pool.total)
        self._canary = torch.full((self._bytes.shape[1],), CANARY, dtype=torch.uint8, device=staging.device)

    def renew(self, staging: Tensor) -> None:
        """From now on the pages lie in other memory, which nobody has used yet."""
        self._bytes = _as_bytes(staging)
        self._used, self._filled = bytearray(self._pool.total), bytearray(self._pool.total)
        self._canary = torch.full((self._bytes.shape[1],), CANARY, dtype=torch.uint8, device=staging.device)

    def _free(self) -> bytearray:
        free = bytearray(self._pool.total)
        for run in self._pool.free_runs:
            free[run.start : run.stop] = b"\1" * run.count
        return free

    def before_actions(self) -> None:
        """Looks at the pages that are given out: nobody may have written there, and from now on somebody may."""
        free = self._free()
        given = [page for page in range(len(free)) if not free[page]]
        self._verify(page for page in given if self._filled[page])
        for page in given:
            self._filled[page], self._used[page] = 0, 1

    def after_actions(self) -> None:
        """Fills the pages that became free; what was received in them has been copied by now."""
        free = self._free()
        for page in range(len(free)):
            if free[page] and self._used[page]:
                self._bytes[page] = self._canary
                self._filled[page], self._used[page] = 1, 0

    def when_idle(self) -> None:
        """Looks at every page that waits for its next owner."""
        self._verify(page for page in range(len(self._filled)) if self._filled[page])

    def _verify(self, pages: Iterable[int]) -> None:
        changed = [page for page in pages if not torch.equal(self._bytes[page], self._canary)]
        if not changed:
            return
        record("late_write", level=logging.ERROR, pages=changed, reason="written after they had become free")
        self._on_late_writes(len(changed))
        for page in changed:  # told once
            self._bytes[page] = self._canary
