"""A Recipe: what it is called, what it takes and what it gives. Values alone.

A recipe is a pure function from settings to commands. It must not know how its commands are printed or started;
`script` and `cli_recipes` do. Each family of recipes has a file, and `catalog` is the table of all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ...nic_probe import Finding

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["Command", "Kind", "Parameter", "Recipe", "Rendered", "TextRule"]


class Kind(StrEnum):
    """What a parameter's text is read as."""

    TEXT = "text"
    COUNT = "count"
    NUMBER = "number"
    FLAG = "flag"
    LIST = "list"
    CHOICE = "choice"
    PATH = "path"
    HOST = "host"
    ADDRESS = "address"
    PORT = "port"


@dataclass(frozen=True, slots=True)
class TextRule:
    """What a text, or each item of a list, has to look like.

    Attributes:
        pattern: matches the whole of a good value.
        problem: what is wrong with any other, without a full stop.
        remedy: what to write instead, without a full stop.
    """

    pattern: re.Pattern[str]
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that a recipe may be told.

    Attributes:
        default: the text that stands for a value that was not given; None when nothing does.
        choices: the values of Kind.CHOICE.
        required: True when the recipe cannot do without it.
        rule: what a text, or each item of a list, has to look like beyond its kind.
    """

    name: str
    kind: Kind
    default: str | None
    help: str
    choices: tuple[str, ...] = ()
    required: bool = False
    rule: TextRule | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """One command: an argument list, never a line of shell.

    Attributes:
        role: what it is for, such as `install` or `initiator`.
        node: the host that it runs on, where that is known.
        env: variables of this command alone.
        cwd: the folder that it runs in, relative to where the recipe is begun.
        targets: the hosts that it speaks to.
    """

    role: str
    argv: tuple[str, ...]
    node: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    targets: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Returns the command as plain JSON; what is empty is left out."""
        document: dict[str, Any] = {"role": self.role}
        if self.node is not None:
            document["node"] = self.node
        document["argv"] = list(self.argv)
        if self.env:
            document["env"] = dict(self.env)
        if self.cwd is not None:
            document["cwd"] = self.cwd
        if self.targets:
            document["targets"] = list(self.targets)
        return document


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a recipe comes to.

    Attributes:
        files: text by `<node>:<name>`.
        env: variables of every command.
        findings: what is to be said about it, such as what has changed since a source was written.
    """

    commands: tuple[Command, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named recipe.

    Attributes:
        title: one line for a list.
        summary: what it does and what has to be there, in a few sentences.
        source: where its commands are known from.
        render: the recipe itself; raises ConfigError for settings that do not fit together.
    """

    name: str
    title: str
    summary: str
    parameters: tuple[Parameter, ...]
    source: str
    render: Callable[[Settings], Rendered]
