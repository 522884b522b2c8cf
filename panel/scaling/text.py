"""A difference of plans for people: +/- lines, commands as a shell would take them. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ..launch import ProcessSpec
from .difference import PlanDifference

__all__ = ["lines_of"]


def lines_of(difference: PlanDifference) -> Iterator[tuple[str, str]]:
    """Yields (sign, line): "+" what is started, "-" what ends, "~" what is told or restarted, " " what stays."""
    for sign, specs, word in (("-", difference.removed, "ends"), ("+", difference.added, "is started")):
        for spec in specs:
            yield sign, f"{spec.name} {word}{_places(spec)}"
            if sign == "+":
                yield sign, f"    {shlex.join(spec.argv)}"
    for change in difference.changed:
        yield "~", f"{change.name} {'is restarted' if change.restart else 'goes on'}: {change.reason}"
        gone = [word for word in _groups(change.before) if word not in _groups(change.after)]
        new = [word for word in _groups(change.after) if word not in _groups(change.before)]
        yield from (("-", f"    {word}") for word in gone)
        yield from (("+", f"    {word}") for word in new)
    if difference.unchanged:
        yield " ", f"{', '.join(spec.name for spec in difference.unchanged)} stay as they are"


def _places(spec: ProcessSpec) -> str:
    parts = [f"port {port} ({kind})" for kind, port in spec.ports.items()]
    parts += [f"GPU {', '.join(spec.gpus)}"] if spec.gpus else []
    parts += [f"NIC {', '.join(spec.nics)}"] if spec.nics else []
    return f": {', '.join(parts)}" if parts else ""


def _groups(spec: ProcessSpec) -> list[str]:
    """Returns a command's options, each with its values."""
    groups: list[list[str]] = []
    for word in spec.argv:
        if word.startswith("--") or not groups:
            groups.append([word])
        else:
            groups[-1].append(word)
    return [shlex.join(group) for group in groups]
