"""The words of a command's arguments as options with their values, and back.

Values and pure functions. Knows argparse's way to tell options from values, and no option's meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

__all__ = ["Written", "join_words", "split_words"]

_NUMBER = re.compile(r"-\d+$|-\d*\.\d+$")


@dataclass(frozen=True, slots=True)
class Written:
    """One option as it was written, or one word that belongs to none.

    Attributes:
        name: with its dashes; empty for a word alone, which then is the only value.
        values: the words after it.
        joined: True for --name=value.
    """

    name: str
    values: tuple[str, ...] = ()
    joined: bool = False

    @property
    def value(self) -> str:
        """The first value, empty for a switch."""
        return self.values[0] if self.values else ""

    def named(self, name: str) -> Written:
        """Returns the same with another name."""
        return self if name == self.name else replace(self, name=name)

    def words(self) -> tuple[str, ...]:
        """Returns it as words of a command."""
        if not self.name:
            return self.values
        if self.joined and len(self.values) == 1:
            return (f"{self.name}={self.values[0]}",)
        return (self.name, *self.values)


def split_words(arguments: Sequence[str], is_switch: Callable[[str], bool]) -> tuple[Written, ...]:
    """Returns the arguments as options; what follows a bare `--` is left alone.

    Args:
        arguments: of a command, with or without its program in front.
        is_switch: tells an option that takes no word, so that what follows it stands alone.
    """
    found: list[Written] = []
    place, end = 0, len(arguments)
    while place < end:
        word = arguments[place]
        place += 1
        if word == "--":
            found.extend(Written("", (rest,)) for rest in arguments[place - 1 :])
            break
        if not _is_option(word):
            found.append(Written("", (word,)))
            continue
        name, equals, value = word.partition("=")
        start = place
        if not equals and not is_switch(name):
            while place < end and not _is_option(arguments[place]) and arguments[place] != "--":
                place += 1
        found.append(Written(name, (value,) if equals else tuple(arguments[start:place]), joined=bool(equals)))
    return tuple(found)


def join_words(options: Iterable[Written]) -> tuple[str, ...]:
    """Returns the options as words of a command."""
    return tuple(word for option in options for word in option.words())


def _is_option(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and " " not in word.partition("=")[0] and not _NUMBER.match(word)
