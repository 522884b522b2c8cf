"""The version that a command is meant for, with what is known of it: table, facts, and how to name it.

A value. Made for each call of `translate`; its questions are those of one option.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from .successors import Facts, load_facts
from .table import Kind, Option, Table, load_table
from .version import version_of

__all__ = ["Target", "target_of"]


@dataclass(frozen=True, slots=True)
class Target:
    """One version of an engine.

    Attributes:
        version: the release that answers for it: itself, or the nearest one that was read.
        given: True when the deployment names a version.
        sure: True when that version lies between releases that were read.
        shown: for a sentence, such as SGLang 0.5.23.
        names: of all options that the version has.
        deprecated: those of them that it warns about.
    """

    table: Table
    facts: Facts
    version: tuple[int, ...]
    given: bool
    sure: bool
    shown: str
    names: frozenset[str]
    deprecated: frozenset[str]

    def has(self, name: str) -> bool:
        """Returns True when the version has an option of this name."""
        return name in self.names

    def option(self, name: str) -> Option | None:
        """Returns what is known of a name in any version."""
        return self.table.options.get(name)

    def calls_deprecated(self, name: str) -> bool:
        """Returns True when the version has the option and warns about it."""
        return name in self.deprecated

    def is_switch(self, name: str) -> bool:
        """Returns True for an option that takes no word, by any spelling."""
        option = self.option(self.spelled(name))
        return option is not None and option.kind is Kind.SWITCH

    def spelled(self, name: str) -> str:
        """Returns the name with an abbreviation written out and underscores made dashes, if such an option exists."""
        if name in self.facts.abbreviations:
            return self.facts.abbreviations[name]
        if self.has(name):
            return name
        dashed = name.replace("_", "-")
        return dashed if dashed != name and dashed in self.table.options else name


@lru_cache(maxsize=64)
def target_of(engine: str, version: str) -> Target | None:
    """Returns the target; None for an engine without a table.

    Args:
        version: as a deployment or an image's tag writes it; what is no version means the newest release read.
    """
    table, facts = load_table(engine), load_facts(engine)
    if table is None or facts is None:
        return None
    numbers = version_of(version)
    shown = f"{facts.title} {version}" if numbers else f"today's {facts.title} ({table.versions[-1]})"
    nearest = table.nearest(numbers)
    return Target(
        table,
        facts,
        nearest,
        given=bool(numbers),
        sure=bool(numbers) and table.covers(numbers),
        shown=shown,
        names=table.names_at(nearest),
        deprecated=frozenset(name for name, option in table.options.items() if option.is_deprecated(nearest)),
    )
