"""What a request asks: random tokens, random words, or a line of a person's file.

Pure: the same seed and number give the same prompt, so that two deployments are asked the same. Random prompts have no
beginning in common, which keeps a prefix cache from answering them. `server` chooses which one fits a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from .words import WORDS

__all__ = ["FilePrompts", "Prompt", "Prompts", "TokenPrompts", "WordPrompts"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: its text, or the ids of its tokens.

    Attributes:
        messages: of a conversation, for the chat route; None makes one user message of the text.
        output_length: tokens that the answer shall have; None leaves it to the load.
    """

    text: str = ""
    token_ids: tuple[int, ...] = ()
    messages: tuple[tuple[str, str], ...] | None = None
    output_length: int | None = None


class Prompts(Protocol):
    """Where prompts come from."""

    source: str

    def prompt(self, number: int, length: int) -> Prompt:
        """Returns the prompt of request `number` with about `length` tokens."""
        ...


class TokenPrompts:
    """Random tokens of the model's vocabulary: exactly as many as asked.

    Args:
        token_ids: those to choose from, without special ones.
        seed: of the load.
        source: where the ids come from, in a few words.
    """

    def __init__(self, token_ids: Sequence[int], seed: int, source: str) -> None:
        assert token_ids
        self.source = source
        self._ids = token_ids
        self._seed = seed

    def prompt(self, number: int, length: int) -> Prompt:
        """Returns `length` random tokens."""
        return Prompt(token_ids=tuple(Random(f"{self._seed}/prompt/{number}").choices(self._ids, k=length)))


class WordPrompts:
    """Random words.

    Args:
        seed: of the load.
        tokens_per_word: as the server counted them in a trial.
        extra: tokens that the server adds to each prompt, such as a chat template's.
    """

    source = "random words, counted by the server"

    def __init__(self, seed: int, tokens_per_word: float = 1.0, extra: int = 0) -> None:
        self._seed = seed
        self._tokens_per_word = max(0.1, tokens_per_word)
        self._extra = extra

    def prompt(self, number: int, length: int) -> Prompt:
        """Returns words that come to about `length` tokens, one word at least."""
        words = max(1, round((length - self._extra) / self._tokens_per_word))
        return Prompt(" ".join(Random(f"{self._seed}/prompt/{number}").choices(WORDS, k=words)))


class FilePrompts:
    """The prompts of a file, in an order that the seed chooses, again and again."""

    def __init__(self, prompts: Sequence[Prompt], seed: int, source: str) -> None:
        assert prompts
        self.source = source
        self._prompts = list(prompts)
        Random(f"{seed}/file").shuffle(self._prompts)

    def prompt(self, number: int, length: int) -> Prompt:
        """Returns the prompt as the file has it, whatever `length` is."""
        return self._prompts[number % len(self._prompts)]
