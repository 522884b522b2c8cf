"""What took the place of an option that came or went: facts from data files, each with its source.

When an option exists is in the tables; this is what it means elsewhere. Called by `translate` and by the doctor.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

__all__ = ["ENGINES", "Facts", "Merger", "Succession", "load_facts"]

ENGINES = ("sglang", "sglang-router", "vllm")


@dataclass(frozen=True, slots=True)
class Succession:
    """What to write in place of an option.

    Attributes:
        old: the option, with its dashes.
        new: what stands for it: `--name` takes over its values, `--name=value` has its own; empty for nothing.
        drop: True when it may be left out where it does not exist: it then means nothing.
        reason: one sentence: why nothing or something different takes its place.
        remedy: one sentence, for one that is refused.
        values: new values by old ones, where they were renamed, too.
        never: True for an option that no release has.
        back: False when the new one must not become the old one on a version before it.
        source: where this is known from.
    """

    old: str
    source: str
    new: tuple[str, ...] = ()
    drop: bool = False
    reason: str = ""
    remedy: str = ""
    values: Mapping[str, str] | None = None
    never: bool = False
    back: bool = True

    @property
    def text(self) -> str:
        """What to use instead, for a sentence; empty when there is nothing."""
        return " and ".join(self.new)


@dataclass(frozen=True, slots=True)
class Merger:
    """A switch and a valued option that became one option."""

    switch: str
    valued: str
    new: str
    source: str


@dataclass(frozen=True)
class Facts:
    """All facts on one engine's options.

    Attributes:
        abbreviations: what short forms, which people write, are written out to.
        dotted: True where --option.key sets a key of an option that takes JSON.
    """

    engine: str
    title: str
    successions: tuple[Succession, ...] = ()
    mergers: tuple[Merger, ...] = ()
    abbreviations: Mapping[str, str] = field(default_factory=dict)
    dotted: bool = False

    def of(self, old: str) -> Succession | None:
        """Returns the fact on an option, None when there is none."""
        return self._by_old.get(old)

    @cached_property
    def _by_old(self) -> dict[str, Succession]:
        return {fact.old: fact for fact in self.successions}


@cache
def load_facts(engine: str) -> Facts | None:
    """Returns the facts on an engine; None for one without."""
    if engine not in ENGINES:
        return None
    text = files(__package__ or "").joinpath("facts", f"{engine}.toml").read_text("utf-8")
    document = tomllib.loads(text)
    return Facts(
        engine,
        document["title"],
        tuple(_succession(entry) for entry in document.get("succession", ())),
        tuple(Merger(**entry) for entry in document.get("merger", ())),
        document.get("abbreviations", {}),
        dotted=document.get("dotted", False),
    )


def _succession(entry: Mapping[str, Any]) -> Succession:
    return Succession(**{**entry, "new": tuple(entry.get("new", ()))})
