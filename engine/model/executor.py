"""What computes a model's forward passes: the seam between the step loop and torch, native kernels or a GPU.

`loading` picks one for the host and the model; everybody else sees this Protocol only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..request import SamplingParams
from .shape import ModelShape

if TYPE_CHECKING:
    from torch import Tensor

    from ..kv import KVCache

__all__ = ["DecodeRow", "Decoder", "Decoding", "Executor", "ExecutorInfo", "TokenSpan"]


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """New tokens of one sequence.

    Attributes:
        tokens: their ids.
        start: position of the first of them; all earlier positions have valid KV.
        slot: index of the sequence's first place in the slot memory.
        logits: True when the logits after the last of them are wanted.
        group: attention group of the sequence, whose KV memory `slot` is a place of; see `engine.parallel.layout`.
        prompt: they are of its prompt. A single token of an answer may be computed in another way, and is so again
            whenever it is computed again.
    """

    tokens: Sequence[int]
    start: int
    slot: int
    logits: bool
    group: int = 0
    prompt: bool = False

    @property
    def decodes(self) -> bool:
        """Whether this is one token of an answer."""
        return len(self.tokens) == 1 and not self.prompt

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
        decode: what the linear layers multiply for a token of an answer, and why; empty where it is as for prompts.
    """

    executor: str
    attention: str
    weights: str
    reason: str = ""
    decode: str = ""


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


@dataclass(frozen=True, slots=True)
class DecodeRow:
    """One token of one sequence, and how the next one is drawn.

    Attributes:
        key: of the sequence.
        token: its id.
        position: in the sequence; all earlier ones have valid KV.
        slot: index of the sequence's first place in the slot memory.
        goes_on: True when the slot has a place for the next token and another one may follow that.
        seed: with the next position it keys the draw; see `sampler`.
    """

    key: int
    token: int
    position: int
    slot: int
    goes_on: bool
    params: SamplingParams
    seed: int

    def following(self) -> DecodeRow:
        """Returns the row behind this one, whose token is not known here yet."""
        return DecodeRow(self.key, 0, self.position + 1, self.slot, self.goes_on, self.params, self.seed)


class Decoder(Protocol):
    """What computes whole decode steps, drawing included."""

    def decode(self, rows: Sequence[DecodeRow], kv: KVCache) -> list[int] | None:
        """Returns the token that follows each row; None when the caller has to compute the step and draw."""
        ...


@runtime_checkable
class Decoding(Protocol):
    """An executor that may have a decoder."""

    @property
    def decoder(self) -> Decoder | None:
        """None where steps are computed and drawn apart."""
        ...
