"""What computes a model's forward passes: the seam between the step loop and torch, native kernels or a GPU.

`loading` picks one for the host and the model; everybody else sees this Protocol only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .shape import ModelShape

if TYPE_CHECKING:
    from torch import Tensor

    from ..kv import KVCache

__all__ = ["Executor", "ExecutorInfo", "TokenSpan"]


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """New tokens of one sequence.

    Attributes:
        tokens: their ids.
        start: position of the first of them; all earlier positions have valid KV.
        slot: index of the sequence's first place in the slot memory.
        logits: True when the logits after the last of them are wanted.
    """

    tokens: Sequence[int]
    start: int
    slot: int
    logits: bool

    @property
    def stop(self) -> int:
        """Position after the last token."""
        return self.start + len(self.tokens)


@dataclass(frozen=True, slots=True)
class ExecutorInfo:
    """Which path a worker computes on; `/server_info` and the log show it.

    Attributes:
        executor: `torch` (eager, any device), `native` (our kernels for CPUs) or `cuda` (Triton and CUDA graphs).
        attention: the path of attention, such as `native`, `sdpa` or `triton-paged`.
        weights: the format that the linear layers read, such as `float32`, `int4-g32` or `int8-g32`.
        reason: why this path and no faster one, in one sentence.
    """

    executor: str
    attention: str
    weights: str
    reason: str = ""


class Executor(Protocol):
    """A loaded model that computes."""

    @property
    def shape(self) -> ModelShape:
        """The model's dimensions."""
        ...

    @property
    def info(self) -> ExecutorInfo:
        """Which path this is."""
        ...

    def forward(self, spans: Sequence[TokenSpan], kv: KVCache, tap: Callable[[Tensor], None] | None = None) -> Tensor:
        """Computes the spans, writes their KV and returns the wanted logits.

        Args:
            tap: called with the states of all tokens, [tokens, hidden], in the order of the spans; `logits` makes
                logits of any of them.

        Returns:
            float32 [spans with logits, vocab], in the order of the spans.
        """
        ...

    def logits(self, states: Tensor) -> Tensor:
        """Returns the logits, float32 [rows, vocab], of states [rows, hidden]."""
        ...
