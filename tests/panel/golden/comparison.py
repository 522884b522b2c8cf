"""When a rendered deployment is a golden case's: the same commands, variables and files, in any order of options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["assert_same", "comparable", "sorted_argv"]

_WORKERS = {"prefill", "decode", "unified", "encoder"}
# The cases call by its program what a plan calls by its role.
_ROLES = {"master": "store", "server": "unified"}


def sorted_argv(argv: Sequence[str]) -> list[Any]:
    """Returns the program with its options in order, each with its own words; python and python3 are one."""
    words: list[list[str]] = [[]]
    for word in argv:
        if word.startswith("-") and len(word) > 1 and (word.startswith("--") or not word[1].isdigit()):
            words.append([])
        words[-1].append(word)
    head = ["python3" if word == "python" and place == 0 else word for place, word in enumerate(words[0])]
    return [head, *sorted(words[1:])]


def comparable(command: Mapping[str, Any], env: Mapping[str, str], nodes: bool) -> dict[str, Any]:
    """Returns what of a command is compared, with the variables that it has of its own and of all."""
    return {
        "role": _role(command),
        "argv": sorted_argv(command["argv"]),
        "env": {**env, **command.get("env", {})},
        "cwd": command.get("cwd"),
        "targets": command.get("targets"),
        "node": command.get("node") if nodes else None,
    }


def assert_same(rendered: Mapping[str, Any], case: Mapping[str, Any]) -> None:
    """Asserts that the rendered JSON is the case; roles that the case leaves out are not compared.

    Workers have exactly the case's variables. A case's variables of all commands are for workers, too: a router may do
    without them, and has no others.
    """
    commands = case["commands"]
    nodes = {_role(one): any(_role(other) == _role(one) and "node" in other for other in commands) for one in commands}
    wanted = sorted((comparable(one, case["env"], nodes[_role(one)]) for one in commands), key=_order)
    found = (one for one in rendered["commands"] if _role(one) in nodes)
    got = sorted((comparable(one, rendered["env"], nodes[_role(one)]) for one in found), key=_order)
    for mine, theirs in zip(got, wanted, strict=False):
        if mine["role"] not in _WORKERS and mine["env"].items() <= theirs["env"].items():
            mine["env"] = {**case["env"], **mine["env"]}
    assert got == wanted
    assert rendered["files"] == case["files"]


def _role(command: Mapping[str, Any]) -> str:
    role: str = command["role"]
    return _ROLES.get(role, role)


def _order(command: Mapping[str, Any]) -> str:
    return repr((command["role"], command["node"], command["argv"]))
