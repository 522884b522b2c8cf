"""The text model of a LLaVA checkpoint: ids of images take their embeddings from elsewhere, all others the model's.

Everything behind the embeddings is `Llama`'s. Whoever schedules sees to it that the store has what a step needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..model.experts import ExpertLayer
from ..model.llama import Llama
from ..model.shape import ModelShape
from ..model.weights import Weights
from .embeddings import FIRST_IMAGE_ID, Rows

__all__ = ["ImageLlama", "ImageRows"]


class ImageRows(Protocol):
    """Has the embeddings of the images of each step: an `EmbeddingStore`, or what asks the first rank's."""

    def rows(self, ids: Sequence[int]) -> Rows:
        """Returns the rows that ids stand for, float32 [ids, width]."""
        ...


class ImageLlama(Llama):
    """A text model whose prompts may hold images; the other arguments are `Llama`'s."""

    def __init__(
        self,
        shape: ModelShape,
        weights: Weights,
        context_length: int,
        images: ImageRows,
        experts: ExpertLayer | None = None,
    ) -> None:
        super().__init__(shape, weights, context_length, experts)
        self._images = images

    def embed(self, ids: Tensor) -> Tensor:
        """Returns the states in front of the first layer, [tokens, hidden]."""
        is_image = ids >= FIRST_IMAGE_ID
        if not bool(is_image.any()):
            return super().embed(ids)
        states = super().embed(ids.masked_fill(is_image, 0))
        rows = torch.from_numpy(self._images.rows(ids[is_image].tolist()))
        states[is_image] = rows.to(states)
        return states
