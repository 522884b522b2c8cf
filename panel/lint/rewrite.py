"""A command while it is corrected: its options are replaced, added or removed, and the rest stays as it was written.

Pure. Collects changes by the places of words; `edit` makes them in a text, and `result` gives the words that come out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..doctor.command import Option, WrittenCommand, options_of

__all__ = ["Change", "Rewrite"]

_MOST_OPTIONS = 512


@dataclass(frozen=True, slots=True)
class Change:
    """`words[start:end]` of a command become `words`; an empty range is an insertion before `start`."""

    start: int
    end: int
    words: tuple[str, ...]


class Rewrite:
    """One command and its changes.

    Attributes:
        written: the command as it is.
        changes: none of which overlap.
        variables: assignments before the command: the new text of each that changes, None for one that goes.
    """

    def __init__(self, written: WrittenCommand) -> None:
        self.written = written
        self.changes: list[Change] = []
        self.variables: dict[str, str | None] = {}
        # A command of a deployment has tens of options; one with thousands is not put right.
        options = options_of(written.command.words[written.first :])[0]
        self._options = options if len(options) <= _MOST_OPTIONS else []

    @property
    def words(self) -> Sequence[str]:
        """The command's words as they are."""
        return self.written.command.words

    @property
    def changed(self) -> bool:
        """True when something is to be corrected."""
        return bool(self.changes or self.variables)

    def options(self, *names: str) -> list[Option]:
        """Returns the options of these names, in order; places count among the command's words."""
        first = self.written.first
        return [
            Option(option.name, option.values, option.start + first, option.end + first, option.joined)
            for option in self._options
            if option.name in names
        ]

    def replace(self, start: int, end: int, *words: str) -> bool:
        """Puts other words in the place of some; False when those are being changed already."""
        for change in self.changes:
            same = (change.start, change.end) == (start, end)
            apart = change.end <= start or end <= change.start
            if same or not apart:
                return False
        self.changes.append(Change(start, end, words))
        return True

    def replace_option(self, option: Option, *words: str) -> bool:
        """Puts words in the place of an option and its values; none remove it."""
        return self.replace(option.start, option.end, *words)

    def set_option(self, name: str, value: str) -> bool:
        """Gives an option a value: the last one of that name, else a new one behind the others."""
        if any(f"--{name}" in change.words for change in self.changes):
            return False
        present = self.options(name)
        if present:
            return self.replace_option(present[-1], f"--{name}", value)
        return self.append(f"--{name}", value)

    def append(self, *words: str) -> bool:
        """Adds words behind the last option."""
        end = len(self.words)
        known = [change for change in self.changes if change.start == change.end == end]
        if known and known[0].words[: len(words)] == words:
            return False
        if known:
            self.changes.remove(known[0])
            words = (*known[0].words, *words)
        self.changes.append(Change(end, end, words))
        return True

    def variable(self, name: str, assignment: str | None) -> bool:
        """Changes the assignment of a variable before the command, or takes it away (None)."""
        if name in self.variables:
            return False
        self.variables[name] = assignment
        return True

    def result(self) -> tuple[str, ...]:
        """Returns the words that come out."""
        words = list(self.words)
        for change in sorted(self.changes, key=lambda change: (change.start, change.end), reverse=True):
            words[change.start : change.end] = change.words
        return tuple(words)

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Returns variables with the changes made in them."""
        changed = dict(env)
        for name, assignment in self.variables.items():
            if name in changed:
                del changed[name]
                if assignment is not None:
                    new, _, value = assignment.partition("=")
                    changed[new] = value
        return changed
