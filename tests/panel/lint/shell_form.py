"""A plan, and a published case, as the shell text that a person would paste; and what two of them have in common."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from pdpanel.panel.deployment import Deployment
from pdpanel.panel.lint.import_compare import rendered
from pdpanel.panel.render import render

__all__ = ["comparable", "configs", "document", "script"]


def document(deployment: Deployment) -> dict[str, Any]:
    """Returns what `pdpanel render --json` prints of a deployment."""
    return render(rendered(deployment))


def script(made: Mapping[str, Any]) -> str:
    """Returns the commands of a rendered deployment, or of a published case, as a script."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in made["env"].items()]
    for command in made["commands"]:
        words = [f"{name}={shlex.quote(value)}" for name, value in command.get("env", {}).items()]
        lines.append(" ".join([*words, shlex.join(command["argv"])]))
    return "\n".join(lines) + "\n"


def configs(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the JSON configs beside the script."""
    return [(name, json.dumps(value)) for name, value in made["files"].items() if name.endswith(".json")]


def comparable(made: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Returns the processes with options sorted, `python` as python3, and every variable beside its command."""
    return sorted(_process(command, made["env"]) for command in _processes(made["commands"]))


def _processes(commands: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    return (command for command in commands if command["role"] != "smoke-test")


def _process(command: Mapping[str, Any], common: Mapping[str, str]) -> tuple[Any, ...]:
    argv = ["python3" if command["argv"][0] == "python" else command["argv"][0], *command["argv"][1:]]
    return tuple(sorted(argv)), tuple(sorted({**common, **command.get("env", {})}.items()))
