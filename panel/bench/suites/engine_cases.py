"""What the `engine` suite measures: batches, contexts, prompts and the goals of each. Pure.

Every contender gets the same ids and computes the same number of tokens; the content of a prompt does not change what a
pass costs, so the rows of a batch have the same one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ..comparison import Goal

__all__ = ["DecodeCase", "EngineCases", "PrefillCase", "at_least", "cases_of", "prompt_of", "thread_counts"]

_FIRST_PLAIN = 20
"""Ids below are often special ones."""


@dataclass(frozen=True, slots=True)
class DecodeCase:
    """Sequences that get token after token.

    Attributes:
        batch: sequences at once.
        context: tokens that each has before the first step.
        steps: that are timed, after the warm-up.
        over_transformers: goal of the ratio to transformers fp32.
        over_fastest: goal of the ratio to the fastest peer.
    """

    batch: int
    context: int
    steps: int
    over_transformers: float | None = None
    over_fastest: float | None = None

    @property
    def name(self) -> str:
        """As `Comparison.case` says it."""
        return f"batch={self.batch},context={self.context}"


@dataclass(frozen=True, slots=True)
class PrefillCase:
    """One prompt, from its ids to the first token; the goals are those of `DecodeCase`."""

    prompt: int
    over_transformers: float | None = None
    over_fastest: float | None = None

    @property
    def name(self) -> str:
        """As `Comparison.case` says it."""
        return f"prompt={self.prompt}"


@dataclass(frozen=True, slots=True)
class EngineCases:
    """All cases; the quality is measured on `text` tokens."""

    decode: tuple[DecodeCase, ...]
    prefill: tuple[PrefillCase, ...]
    text: int

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt or context."""
        return max(*(case.context for case in self.decode), *(case.prompt for case in self.prefill))


_FULL = EngineCases(
    decode=(
        DecodeCase(1, 128, 24, over_transformers=4.0, over_fastest=1.2),
        DecodeCase(8, 128, 12, over_transformers=4.0, over_fastest=1.2),
        DecodeCase(32, 128, 8, over_transformers=1.5),
        DecodeCase(1, 1024, 24),
    ),
    prefill=(
        PrefillCase(128),
        PrefillCase(512, over_transformers=1.2, over_fastest=1.0),
        PrefillCase(2048, over_transformers=1.2, over_fastest=1.0),
    ),
    text=1024,
)
_SHORT = EngineCases((DecodeCase(1, 24, 4), DecodeCase(2, 24, 4)), (PrefillCase(32),), 64)


def cases_of(*, short: bool) -> EngineCases:
    """Returns what is measured."""
    return _SHORT if short else _FULL


def prompt_of(length: int, vocab: int, seed: int) -> list[int]:
    """Returns `length` ids below `vocab`, the same ones for the same seed; a shorter one begins a longer one."""
    draw = random.Random(seed)
    return [draw.randrange(min(_FIRST_PLAIN, vocab - 1), vocab) for _ in range(length)]


def thread_counts(cores: int) -> tuple[int, ...]:
    """Returns with how many threads each contender computes: one, and two where there are two cores."""
    return (1, 2) if cores > 1 else (1,)


def at_least(bound: float | None) -> Goal | None:
    """Returns the goal of a ratio, None without one."""
    return None if bound is None else Goal(at_least=bound)
