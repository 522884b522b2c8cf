"""How rows of bytes change places between the ranks of a worker, all at once: each rank has some for each other.

The seam below the routing of tokens to experts. `CollectiveRows` carries them by the ranks' collective, `transfer_rows`
by a KV transport. All ranks call the same operations in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from .collective import Collective

__all__ = ["CollectiveRows", "RowExchange"]


class RowExchange(Protocol):
    """The ranks of a worker, as one of them sees them."""

    @property
    def rank(self) -> int:
        """This rank."""
        ...

    @property
    def size(self) -> int:
        """The number of ranks."""
        ...

    @property
    def most_bytes(self) -> int | None:
        """Bytes that one rank can have for another in one exchange; None for no limit."""
        ...

    def outboxes(self, sizes: Sequence[int]) -> list[Tensor]:
        """Returns memory for each rank, uint8 [size], which the caller fills before `exchange`.

        Args:
            sizes: bytes for each rank, this one included; multiples of 4.
        """
        ...

    def exchange(self, receives: Sequence[int] | None = None) -> list[Tensor]:
        """Returns what each rank has for this one, uint8 [bytes].

        They are valid up to the next call of `outboxes`.

        Args:
            receives: bytes that each rank has, where all ranks know that, which can save a message; as in an answer.

        Raises:
            RankError: a rank is gone or does not answer; no other exchange can follow.
        """
        ...

    def close(self) -> None:
        """Gives the memory and the links up."""
        ...


class CollectiveRows:
    """Rows by all_to_all of a collective: first how many bytes, then the bytes. The memory stays and grows.

    Args:
        device: whose memory the collective carries; None is the host's.
    """

    most_bytes = None

    def __init__(self, collective: Collective, device: torch.device | None = None) -> None:
        self._collective = collective
        self._device = device
        self.rank = collective.rank
        self.size = collective.size
        self._sizes: list[int] = []
        self._outgoing = self._arrived = self._memory(0)

    def outboxes(self, sizes: Sequence[int]) -> list[Tensor]:
        """See `RowExchange`."""
        self._sizes = list(sizes)
        if len(self._outgoing) < sum(sizes):
            self._outgoing = self._memory(sum(sizes))
        return list(self._outgoing[: sum(sizes)].split(self._sizes))

    def exchange(self, receives: Sequence[int] | None = None) -> list[Tensor]:
        """See `RowExchange`."""
        ones, counts = [1] * self.size, None if receives is None else list(receives)
        if counts is None:
            counts = self._collective.all_to_all(torch.tensor(self._sizes, device=self._device), ones, ones).tolist()
        if len(self._arrived) < sum(counts):
            self._arrived = self._memory(sum(counts))
        outgoing, arrived = self._outgoing[: sum(self._sizes)], self._arrived[: sum(counts)]
        return list(self._collective.all_to_all(outgoing, self._sizes, counts, arrived).split(counts))

    def close(self) -> None:
        """The collective is the caller's."""

    def _memory(self, size: int) -> Tensor:
        with torch.inference_mode(False):  # the group's threads use it
            return torch.empty(size, dtype=torch.uint8, device=self._device)
