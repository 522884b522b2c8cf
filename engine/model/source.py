"""What the converter asks of a model file of any format: a shape, a tokenizer, float32 rows of each part.

`engine.model.gguf` and `engine.model.huggingface` implement it; `engine.model.convert` is the only caller.
Uses numpy, never torch: conversion runs in a process of its own that must start fast and stay small.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .layout import Part
from .shape import ModelShape

__all__ = ["BLOCK_BYTES", "Source", "row_blocks"]

BLOCK_BYTES = 8 << 20
"""A tensor is expanded to float32 in blocks of about this many bytes."""


class Source(Protocol):
    """An opened model file."""

    shape: ModelShape
    facts: dict[str, object]
    chat_template: str | None

    def check(self, part: Part) -> None:
        """Checks that `part` is there, has its shape and can be expanded.

        Raises:
            ConfigError: it is missing, misshaped or of a type that is not served.
        """
        ...

    def rows(self, part: Part) -> Iterator[NDArray[np.float32]]:
        """Yields the rows of `part`, block by block, in the order that transformers uses."""
        ...

    def tokenizer_json(self) -> str:
        """Returns the tokenizer in the format of the `tokenizers` package.

        Raises:
            ConfigError: the model has none, or one that is not served.
        """
        ...

    def special_tokens(self) -> dict[str, str]:
        """Returns the texts of the tokens that have a role, by transformers' names such as `bos_token`."""
        ...


def row_blocks(shape: Sequence[int], multiple: int = 1) -> Iterator[slice]:
    """Yields slices over a tensor's rows: about `BLOCK_BYTES` of float32 each, and whole in `multiple`."""
    rows, width = shape[0], math.prod(shape[1:])
    step = max(BLOCK_BYTES // (4 * width) // multiple, 1) * multiple
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
