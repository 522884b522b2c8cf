"""Which options SGLang had when, for the doctor: a reading of `panel.flags`, which has the facts.

Knows no option by name. Called by `agreement_flags` and by rules that depend on a version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from ..flags import version
from ..flags.successors import Facts, load_facts
from ..flags.table import Option, Table, load_table
from .worker import WorkerArguments

__all__ = ["ATTN_DP_SINCE", "Change", "changes", "version_of"]

ATTN_DP_SINCE = (0, 5, 22)
"""The first version of SGLang that has --attn-dp-size."""


@dataclass(frozen=True, slots=True)
class Change:
    """An option that came, went or is on its way out.

    Attributes:
        flag: its name without dashes.
        since: the first version that has it, as it is written; empty when it is as old as what was read.
        until: the first version without it; empty while it is there.
        deprecated: the first version that warns about it; empty when none does.
        never: True for an option that no release has.
        instead: what to use in a version that lacks it.
    """

    flag: str
    since: str = ""
    until: str = ""
    deprecated: str = ""
    never: bool = False
    instead: str = ""

    def is_gone(self, numbers: tuple[int, ...]) -> bool:
        """Returns True when a version, or today's for (), no longer has it."""
        return self.never or (bool(self.until) and (not numbers or numbers >= version.version_of(self.until)))

    def is_early(self, numbers: tuple[int, ...]) -> bool:
        """Returns True when a version does not have it yet."""
        return bool(self.since) and bool(numbers) and numbers < version.version_of(self.since)

    def is_deprecated(self, numbers: tuple[int, ...]) -> bool:
        """Returns True when a version, or today's for (), warns about it."""
        return bool(self.deprecated) and (not numbers or numbers >= version.version_of(self.deprecated))


@cache
def changes() -> dict[str, Change]:
    """Returns every option of SGLang that is not the same in all releases, by its name without dashes."""
    table, facts = load_table("sglang"), load_facts("sglang")
    assert table is not None and facts is not None
    return {change.flag: change for change in _changes(table, facts)}


def _changes(table: Table, facts: Facts) -> Iterator[Change]:
    for option in table.options.values():
        first, last = option.lives[0], option.lives[-1]
        since = first.since if first.since != table.versions[0] else ""
        if since or last.until or option.deprecated:
            instead = _instead(option, facts)
            yield Change(option.name[2:], since, last.until, option.deprecated, instead=instead)
    for fact in facts.successions:
        if fact.never:
            yield Change(fact.old[2:], never=True, instead=fact.text)


def _instead(option: Option, facts: Facts) -> str:
    name = option.alias_of or option.name
    fact = facts.of(option.name)
    if fact is not None and (fact.new or fact.drop):
        return fact.text or f"nothing: {fact.reason[:1].lower()}{fact.reason[1:].rstrip('.')}"
    for merger in facts.mergers:
        if option.name == merger.switch:
            return f"{merger.new} N in place of {merger.valued} N {merger.switch}"
        if name == merger.new:
            return f"{merger.valued} N {merger.switch}"
    older = next((fact.old for fact in facts.successions if fact.back and fact.new == (name,)), "")
    last = option.lives[-1]
    if last.until:
        return f"a release before {last.until}"
    return older or f"SGLang {last.since} or newer"


def version_of(worker: WorkerArguments) -> tuple[int, ...]:
    """Returns the numbers of a worker's version such as 0.5.9.post1; empty when it is not known."""
    return version.version_of(worker.version)
