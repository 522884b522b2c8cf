"""A LaunchPlan as what the Plan tab shows: for each node its commands, files and tests as text, and who runs on it.

Pure, plain JSON. Everything is quoted for a shell: what is copied is what was planned. Called by `plan_preview`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ..launch import LaunchPlan, PlannedFile, ProcessSpec
from ..render import file_key

__all__ = ["command_text", "nodes_of"]


def command_text(argv: Iterable[str], env: Mapping[str, str] | None = None, cwd: str = "") -> str:
    """Returns a command as a person writes it: one option per line, everything quoted for a POSIX shell."""
    lines = [f"cd {shlex.quote(cwd)} &&"] if cwd else []
    lines += [f"{name}={shlex.quote(value)}" for name, value in (env or {}).items()]
    first = len(lines)
    words: list[str] = []
    for argument in argv:
        # A new line before each long option; its values stay with it, and so does all that comes before the first.
        if words and argument.startswith("--") and len(argument) > 2:
            lines.append(" ".join(words))
            words = []
        words.append(shlex.quote(argument))
    lines.append(" ".join(words))
    return " \\\n".join(line if number <= first else f"  {line}" for number, line in enumerate(lines))


def nodes_of(plan: LaunchPlan) -> list[dict[str, Any]]:
    """Returns every node with its entries: {kind, name, role, text, …}; kinds are command, file, program and test."""
    own = [file.node for file in plan.files if not file.shared]
    names = list(dict.fromkeys([*(spec.node for spec in plan.processes), *own]))
    entries: dict[str, list[dict[str, Any]]] = {name: [] for name in names or [""]}
    first = next(iter(entries))
    for file in plan.files:
        for node in entries if file.shared else [file.node]:
            entries[node].append(_file(file))
    for spec in plan.processes:
        entries[spec.node].append(_command(spec))
    for request in plan.requests:
        text = command_text(request.argv)
        entries.get(request.node, entries[first]).append(
            {"kind": "test", "name": "test", "role": "", "text": text, "file": ""}
        )
    return [
        {"name": node, "address": plan.addresses.get(node, ""), "entries": _in_order(found)}
        for node, found in entries.items()
    ]


def _in_order(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    order = ("command", "file", "program", "test")
    return sorted(entries, key=lambda entry: order.index(entry["kind"]))


def _file(file: PlannedFile) -> dict[str, Any]:
    kind = "program" if file.program else "file"
    return {"kind": kind, "name": file.path, "role": "", "text": file.text, "file": file_key(file)}


def _command(spec: ProcessSpec) -> dict[str, Any]:
    return {
        "kind": "command",
        "name": spec.name,
        "role": spec.role.value,
        "text": command_text(spec.argv, spec.env, spec.cwd),
        "file": "",
        "gpus": list(spec.gpus),
        "nics": list(spec.nics),
        "ports": dict(spec.ports),
        "rank": spec.rank,
    }
