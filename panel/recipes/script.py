"""A rendered recipe as a shell script that a person reads, keeps and runs. Pure.

Everything that is not ours is quoted by `shlex`, and comments are one line of plain text. Commands of one role on one
host are a script from top to bottom. Where there are several, each is a word that the script is called with, since
they belong to different moments or hosts.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping

from ...nic_probe import Finding
from ..runner.journal import one_line
from .recipe import Command, Recipe, Rendered

__all__ = ["script_of"]

_WIDTH = 118


def script_of(recipe: Recipe, rendered: Rendered) -> str:
    """Returns a bash script, ending in a newline."""
    return "\n".join(_lines(recipe, rendered)) + "\n"


def _lines(recipe: Recipe, rendered: Rendered) -> Iterator[str]:
    yield "#!/usr/bin/env bash"
    yield from _comment(f"{recipe.title}.")
    yield from _comment(recipe.summary)
    yield from _comment(f"Known from: {recipe.source}.")
    for finding in rendered.findings:
        yield from _remark(finding)
    yield "set -eu"
    for name, value in rendered.env.items():
        yield f"export {_assignment(name, value)}"
    for name, text in rendered.files.items():
        node, _, path = name.partition(":")
        yield from ("", *_comment(f"On {node}:"), f"printf %s {shlex.quote(text)} > {shlex.quote(path)}")
    sections = _sections(rendered.commands)
    if len(sections) == 1:
        for (_, node), commands in sections.items():
            yield from ("", *_place(node), *map(_line, commands))
        return
    labels = _labels(sections)
    yield from ("", 'case "${1-}" in')
    for key, commands in sections.items():
        yield f"{shlex.quote(labels[key])})"
        yield from (f"  {line}" for line in (*_place(key[1]), *map(_line, commands)))
        yield "  ;;"
    words = " | ".join(labels.values())
    yield from ("*)", f"  printf 'usage: %s %s\\n' \"$0\" {shlex.quote(words)} >&2", "  exit 2", "  ;;", "esac")


def _remark(finding: Finding) -> Iterator[str]:
    yield "#"
    yield from _comment(f"{finding.severity.upper()} {finding.id}: {finding.reason} {finding.remedy}")


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        one_line(text),
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    ) or ["#"]


def _place(node: str | None) -> list[str]:
    return [] if node is None else _comment(f"On {node}:")


Section = tuple[str, str | None]


def _sections(commands: Iterable[Command]) -> dict[Section, list[Command]]:
    sections: dict[Section, list[Command]] = {}
    for command in commands:
        sections.setdefault((command.role, command.node), []).append(command)
    return sections


def _labels(sections: Mapping[Section, object]) -> dict[Section, str]:
    roles = [role for role, _ in sections]
    return {
        (role, node): role if roles.count(role) == 1 or node is None else f"{role}@{node}" for role, node in sections
    }


def _line(command: Command) -> str:
    # Quoting the first word keeps one with = in it from being taken for an assignment.
    line = " ".join([*(_assignment(*pair) for pair in command.env.items()), shlex.join(command.argv)])
    return line if command.cwd is None else f"(cd -- {shlex.quote(command.cwd)} && {line})"


def _assignment(name: str, value: str) -> str:
    assert name.isidentifier() and name.isascii(), "names of variables are ours"
    return f"{name}={shlex.quote(value)}"
