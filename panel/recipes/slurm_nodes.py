"""Slurm's short form of host names: `node[01-03,7]` as the names that it stands for. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ...engine.errors import ConfigError

__all__ = ["MOST_NODES", "NODE", "expand_nodes"]

MOST_NODES = 4096

NODE = re.compile(r"(?=[A-Za-z0-9])[A-Za-z0-9._-]{0,200}(\[[0-9,-]{1,200}\][A-Za-z0-9._-]{0,60}){0,4}")
"""One item of a list: a name with up to four ranges in brackets."""

_BRACKET = re.compile(r"\[([0-9,-]+)\]")
_RANGE = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")


def expand_nodes(field: str, items: Iterable[str]) -> tuple[str, ...]:
    """Returns the names of all nodes in the order given.

    Args:
        field: the parameter that an error names.
        items: names that match NODE.

    Raises:
        ConfigError: a range is broken, a node is named twice, or there are more than MOST_NODES.
    """
    names: dict[str, None] = {}
    for item in items:
        for name in _expanded(field, item, item):
            if name in names:
                raise ConfigError(field, name, "is named twice", "name each node once")
            names[name] = None
            if len(names) > MOST_NODES:
                raise ConfigError(field, item, f"is more than {MOST_NODES} nodes", "name fewer")
    return tuple(names)


def _expanded(field: str, item: str, text: str) -> Iterator[str]:
    bracket = _BRACKET.search(text)
    if bracket is None:
        yield text
        return
    for part in bracket[1].split(","):
        span = _RANGE.fullmatch(part)
        if span is None or int(span[2] or span[1]) < int(span[1]):
            raise ConfigError(field, item, f"has the broken range {part!r}", "write node[1-4] or node1,node2")
        for number in range(int(span[1]), int(span[2] or span[1]) + 1):
            digits = str(number).zfill(len(span[1]))
            yield from _expanded(field, item, text[: bracket.start()] + digits + text[bracket.end() :])
