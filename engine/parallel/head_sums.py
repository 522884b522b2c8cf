"""Checksums of pages that do not depend on how workers share out their KV heads; check mode alone uses them.

The checksum of a page is the sum of those of its heads on all ranks of the decode worker, each CRC-32 keyed by the
head, modulo 2^32. A decode rank adds all heads that it has. A prefill rank adds those that no rank of its group before
it has, as often as ranks of the decode worker get them: so the sums of all ranks together are the same on both sides.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch

from ..kv import KVCache
from ..pages import Runs

__all__ = ["HeadSums", "added"]

_MODULUS = 1 << 32


def added(sums: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Returns the checksums of pages from those of several ranks; none where a rank told none."""
    return tuple(sum(each) % _MODULUS for each in zip(*sums, strict=True)) if sums and all(sums) else ()


class HeadSums:
    """One rank's part of the checksums.

    Args:
        heads: KV heads of each rank of its group; empty where the only rank has all.
        part: its index there.
    """

    def __init__(self, kv: KVCache, heads: Sequence[range], part: int) -> None:
        self._kv = kv
        self._own = heads[part] if heads else range(kv.staging.shape[3])
        self._before = {head for each in heads[:part] for head in each}

    def sent(self, runs: Runs, targets: Sequence[range]) -> tuple[int, ...]:
        """Returns the checksum of each page of our own, in order, that goes to ranks with these heads."""
        copies = {head: sum(head in heads for heads in targets) for head in self._own if head not in self._before}
        return self._of(runs, "", copies)

    def received(self, runs: Runs, peer: str) -> tuple[int, ...]:
        """Returns the checksum of each page, in order, of a grant of these runs to a peer."""
        return self._of(runs, peer, dict.fromkeys(self._own, 1))

    def _of(self, runs: Runs, peer: str, copies: Mapping[int, int]) -> tuple[int, ...]:
        found: list[int] = []
        for run in runs:
            blocks = list(self._kv.blocks(run, peer))
            starts = list(accumulate((block.shape[3] for block in blocks), initial=0))
            sums = [0] * run.count
            for head, count in copies.items():
                place = head - self._own.start
                number = next(n for n, stop in enumerate(starts[1:]) if place < stop)
                cells = blocks[number][:, :, :, place - starts[number]].contiguous().view(torch.uint8).cpu().numpy()
                for page in range(run.count):
                    sums[page] += count * zlib.crc32(cells[page].data, head)
            found += (total % _MODULUS for total in sums)
        return tuple(found)
