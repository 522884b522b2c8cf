"""What changed from one deployment to another, in their files and in the commands that they come to.

Pure. Commands are compared process by process: what changed in one says nothing of the next, and a plan of hundreds of
nodes stays quick. Called by `plan_routes`.
"""

from __future__ import annotations

import difflib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...engine.errors import ConfigError
from ..launch import LaunchPlan
from .plan_preview import plan_of_text
from .plan_shell import nodes_of

__all__ = ["differences"]

_MOST_LINES = 4000
# Pairs of equal lines that difflib would weigh against each other.
_MOST_PAIRS = 2_000_000
_Line = dict[str, str]


def differences(before: str, after: str, of: str) -> dict[str, Any]:
    """Returns {lines, added, removed}; each line is {sign, text}, the sign one of "+", "-", " " and "@".

    Args:
        before: the text that the person began with.
        after: the text of now.
        of: "yaml" compares the texts, "commands" the plans that they make.

    Raises:
        ConfigError: one of them makes no plan (only for commands), or they are too large to compare.
        CapacityError: no port of a band is free.
    """
    found = _of_plans(before, after) if of == "commands" else _of_lines(before.splitlines(), after.splitlines())
    lines = list(found)
    return {
        "lines": lines[:_MOST_LINES],
        "added": sum(line["sign"] == "+" for line in lines),
        "removed": sum(line["sign"] == "-" for line in lines),
    }


def _of_lines(old: Sequence[str], new: Sequence[str]) -> Iterator[_Line]:
    there = Counter(new)
    if sum(count * there[line] for line, count in Counter(old).items()) > _MOST_PAIRS:
        raise ConfigError(
            "deployment", f"{len(new)} lines", "is too large to compare here", "compare the files with diff"
        )
    # Two lines of file names come first.
    for line in itertools.islice(difflib.unified_diff(old, new, lineterm="", n=3), 2, None):
        sign = "@" if line.startswith("@@") else line[:1]
        yield {"sign": sign, "text": line if sign == "@" else line[1:]}


def _of_plans(before: str, after: str) -> Iterator[_Line]:
    old, new = (_blocks(plan_of_text(text)[1]) for text in (before, after))
    for title in dict.fromkeys([*old, *new]):
        changed = list(_of_block(old.get(title, ()), new.get(title, ())))
        if changed:
            yield {"sign": "@", "text": title}
            yield from changed


def _of_block(old: Sequence[str], new: Sequence[str]) -> Iterable[_Line]:
    if not old or not new:
        sign, lines = ("-", old) if old else ("+", new)
        return [{"sign": sign, "text": line} for line in lines]
    return [line for line in _of_lines(old, new) if line["sign"] != "@"]


def _blocks(plan: LaunchPlan) -> Mapping[str, Sequence[str]]:
    """Returns the lines of every command and file by what it is and where."""
    blocks: dict[str, Sequence[str]] = {}
    for node in nodes_of(plan):
        where = f" on {node['name']}" if node["name"] else ""
        for entry in node["entries"]:
            blocks[f"{entry['name']}{where}"] = entry["text"].splitlines()
    return blocks
