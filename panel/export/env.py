"""The format `env`: each process's variables as a file and its command as text, for people who start things by hand.

Pure. `commands.sh` is a list to paste from, in the order in which things start; it is not meant to be run as a whole.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from ..deployment import Deployment
from ..launch import LaunchPlan, ProcessSpec
from ..runner.journal import one_line
from .command_words import after_env, option_lines
from .exported import ExportedFile, Format
from .firewall import firewall_files
from .nodes import Node, config_files, environment, file_labels, nodes_of, ready_url
from .readme import code, readme

__all__ = ["FORMAT", "write"]

_ABOUT = "For people who start processes by hand, or by something of their own: variables and commands as text."


def write(plan: LaunchPlan, deployment: Deployment) -> tuple[ExportedFile, ...]:
    """Returns README.md and, in a folder per node, commands.sh, PROCESS.env and the config files."""
    nodes = nodes_of(plan)
    exported = [ExportedFile("README.md", readme(plan, deployment, nodes, _steps(nodes)))]
    for node in nodes:
        exported.append(ExportedFile(f"{node.label}/commands.sh", "\n".join(_commands(plan, node)) + "\n"))
        labels = file_labels(spec.name for spec in node.processes)
        for spec, label in zip(node.processes, labels, strict=True):
            exported.append(ExportedFile(f"{node.label}/{label}.env", _variables(spec)))
        exported += config_files(node)
    return (*exported, *firewall_files(plan, deployment, nodes))


FORMAT = Format("env", "Variables and commands to paste", _ABOUT, write)


def _variables(spec: ProcessSpec) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in environment(spec).items())


def _commands(plan: LaunchPlan, node: Node) -> Iterator[str]:
    yield "#!/usr/bin/env bash"
    yield "# shellcheck disable=SC1003,SC2016"
    yield "# To paste from, top to bottom, each command in a shell of its own that is in this folder."
    for spec in node.processes:
        yield ""
        yield f"# {one_line(spec.name)}"
        for name in spec.after:
            other = plan.process(name)
            if other is not None and other.ready.url:
                yield f"# Once {one_line(name)} is ready: {one_line(ready_url(plan, other, node.name))}"
        variables = [shlex.quote(f"{name}={value}") for name, value in environment(spec).items()]
        # Behind env, no program's name is a word of the shell.
        start = " ".join(["env", *(variables or ["--"])])
        command = " \\\n  ".join([start, *option_lines(after_env(spec.argv))])
        yield f"(cd -- {shlex.quote(spec.cwd)} && {command})" if spec.cwd else command
    for request in node.requests:
        yield ""
        yield "# Ask for an answer, once all are ready."
        yield " \\\n  ".join(option_lines(request.argv))


def _steps(nodes: Sequence[Node]) -> list[str]:
    return [
        "Copy each node's folder to it and go there: "
        + ", ".join(f"`{node.label}` to {code(node.name)}" if node.name else f"`{node.label}`" for node in nodes)
        + ".",
        "Paste the commands of `commands.sh`, each into a shell of its own; each says what has to be ready before it.",
        "`PROCESS.env` has the same variables for a shell: `set -a; . ./PROCESS.env; set +a`.",
        "Ask for an answer with the last command.",
    ]
