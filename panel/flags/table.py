"""Every option that an engine has had, with the versions in which it exists, as measured from its releases.

A value and its reading from JSON. Knows no meaning of any option: `facts` has that. Made by `extract`.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property
from importlib.resources import files
from itertools import islice, takewhile
from typing import Any

from .version import version_of

__all__ = ["TABLES", "Kind", "Life", "Option", "Table", "load_table", "table_text"]

TABLES = ("sglang", "sglang-router", "vllm", "vllm-kv-transfer")
"""Engines with a table; vllm-kv-transfer has the keys of --kv-transfer-config."""


class Kind(StrEnum):
    """How many words follow an option: none, one, at most one, several."""

    SWITCH = "switch"
    VALUE = "value"
    OPTIONAL = "optional"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Life:
    """From the first version read that has the option to the first after it that does not; "" is still there."""

    since: str
    until: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        name: as it is written, with its dashes.
        kind: in the newest version that has it.
        lives: in order; a second one when it went and came back.
        alias_of: the first name of the same option, where it is not this one.
        deprecated: the first version read that calls it deprecated.
        instead: what that version says to use, in its own words.
        values: those that it takes, with the versions that take them; empty where any goes.
        open: the versions whose values could not be read.
    """

    name: str
    kind: Kind
    lives: tuple[Life, ...]
    alias_of: str = ""
    deprecated: str = ""
    instead: str = ""
    values: Mapping[str, tuple[Life, ...]] = field(default_factory=dict)
    open: tuple[Life, ...] = ()

    def exists(self, version: tuple[int, ...]) -> bool:
        """Returns True when a version, as `version_of` reads it, has the option."""
        return _within(version, self.lives)

    def takes(self, value: str, version: tuple[int, ...]) -> bool:
        """Returns True unless it is known that a version refuses the value."""
        return not self.values or _within(version, self.open) or _within(version, self.values.get(value, ()))

    def values_at(self, version: tuple[int, ...]) -> tuple[str, ...]:
        """Returns the values that a version is known to take."""
        return tuple(value for value, lives in self.values.items() if _within(version, lives))

    def is_deprecated(self, version: tuple[int, ...]) -> bool:
        """Returns True when a version has the option and calls it deprecated."""
        return bool(self.deprecated) and version >= version_of(self.deprecated) and self.exists(version)


@dataclass(frozen=True)
class Table:
    """An engine's options.

    Attributes:
        engine: whose.
        versions: those that were read, oldest first.
        options: by name.
    """

    engine: str
    versions: tuple[str, ...]
    options: Mapping[str, Option]

    @cached_property
    def oldest(self) -> tuple[int, ...]:
        """The oldest version read."""
        return version_of(self.versions[0])

    @cached_property
    def newest(self) -> tuple[int, ...]:
        """The newest version read."""
        return version_of(self.versions[-1])

    def covers(self, version: tuple[int, ...]) -> bool:
        """Returns True when the version lies between the oldest and the newest that were read."""
        return self.oldest <= version <= self.newest

    def nearest(self, version: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the version that the table answers for: the given one, or the nearest end; newest for ()."""
        return min(max(version, self.oldest), self.newest) if version else self.newest

    def names_at(self, version: tuple[int, ...]) -> frozenset[str]:
        """Returns every name that a version has, aliases included."""
        return frozenset(name for name, option in self.options.items() if option.exists(version))

    def has(self, name: str, version: tuple[int, ...]) -> bool:
        """Returns True when a version has an option of this very name."""
        option = self.options.get(name)
        return option is not None and option.exists(version)

    def completions(self, prefix: str, version: tuple[int, ...]) -> tuple[str, ...]:
        """Returns the options that argparse would take an abbreviation for, one name per option, sorted."""
        first = bisect_left(self._sorted, prefix)
        begun = takewhile(lambda name: name.startswith(prefix), islice(self._sorted, first, None))
        found = {self.options[name].alias_of or name for name in begun if self.options[name].exists(version)}
        return tuple(sorted(found))

    @cached_property
    def _sorted(self) -> tuple[str, ...]:
        return tuple(sorted(self.options))


@cache
def load_table(engine: str) -> Table | None:
    """Returns the table of an engine; None for one without."""
    if engine not in TABLES:
        return None
    document = json.loads(files(__package__ or "").joinpath("tables", f"{engine}.json").read_text("utf-8"))
    options = {name: _option(name, entry) for name, entry in document["options"].items()}
    return Table(document["engine"], tuple(document["versions"]), options)


def table_text(table: Table) -> str:
    """Returns a table as JSON with one line per option, as `load_table` reads it."""
    lines = [f"  {json.dumps(name)}: {json.dumps(_entry(option))}" for name, option in sorted(table.options.items())]
    head = f'"engine": {json.dumps(table.engine)},\n"versions": {json.dumps(list(table.versions))},\n'
    return "{\n" + head + '"options": {\n' + ",\n".join(lines) + "\n}\n}\n"


def _within(version: tuple[int, ...], lives: Sequence[Life]) -> bool:
    return any(
        version >= version_of(life.since) and (not life.until or version < version_of(life.until)) for life in lives
    )


def _entry(option: Option) -> dict[str, object]:
    extra: dict[str, object] = {
        "alias_of": option.alias_of,
        "deprecated": option.deprecated,
        "instead": option.instead,
        "values": {value: _written(lives) for value, lives in option.values.items()},
        "open": _written(option.open) if option.values else [],
    }
    return {
        "kind": str(option.kind),
        "lives": _written(option.lives),
        **{key: value for key, value in extra.items() if value},
    }


def _written(lives: Sequence[Life]) -> list[str]:
    return [f"{life.since}..{life.until}" for life in lives]


def _read(lives: object) -> tuple[Life, ...]:
    assert isinstance(lives, list)
    return tuple(Life(since, until) for since, _, until in (str(life).partition("..") for life in lives))


def _option(name: str, entry: Mapping[str, Any]) -> Option:
    text = {key: str(entry.get(key, "")) for key in ("alias_of", "deprecated", "instead")}
    values = {value: _read(lives) for value, lives in entry.get("values", {}).items()}
    return Option(
        name, Kind(entry["kind"]), _read(entry["lives"]), **text, values=values, open=_read(entry.get("open", []))
    )
