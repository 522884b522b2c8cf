"""Embeddings of images in a pass of several ranks: the first rank's store has them, and all ranks get them from it.

Orders carry the ids of images' rows like any other token, so that every rank knows which rows a pass needs, and how
many. Called inside of a forward pass, on every rank alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..vision.embeddings import EmbeddingStore, Rows
from .collective import Collective

__all__ = ["RankRows"]


class RankRows:
    """What `vision.executor.ImageLlama` takes rows from, on one rank.

    Args:
        width: of an embedding.
        store: the first rank's; None on the others.
    """

    def __init__(self, collective: Collective, width: int, store: EmbeddingStore | None) -> None:
        assert (store is not None) == (collective.rank == 0), "rank 0 has the images"
        self._collective = collective
        self._width = width
        self._store = store

    def rows(self, ids: Sequence[int]) -> Rows:
        """Returns the rows that ids stand for, float32 [ids, width].

        Raises:
            RankError: another rank is gone or does not answer.
        """
        if self._store is not None:
            found = torch.from_numpy(self._store.rows(ids))
        else:
            found = torch.empty((len(ids), self._width), dtype=torch.float32)
        return self._collective.broadcast(found).numpy()
