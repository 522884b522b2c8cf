"""The format `sh`: one bash script per node, its config files in a folder beside it, and a README.

Pure. A script is a head that is written here, all values of the plan in it quoted by `shlex`, and `*.bash`, which
hold the verbs and are the same everywhere. Nothing of a plan is ever evaluated.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Sequence

from ..deployment import Deployment
from ..launch import LaunchPlan, ProcessSpec
from ..runner.journal import one_line
from .benchmark import benchmark_command
from .command_words import option_lines
from .container import container_removal
from .exported import ExportedFile, Format
from .firewall import firewall_files
from .nodes import Node, alias_of, config_files, environment, file_labels, nodes_of, ready_url
from .readme import code, readme
from .shell_texts import shell_text

__all__ = ["FORMAT", "script", "write"]

_ABOUT = "For hosts that you reach by ssh: each node needs bash, curl and the engine, and nothing of pdpanel."


def write(plan: LaunchPlan, deployment: Deployment) -> tuple[ExportedFile, ...]:
    """Returns README.md, one script per node, its config files and, for several nodes, its firewall rules."""
    nodes = nodes_of(plan)
    by_name = {node.name: node for node in nodes}
    exported = [ExportedFile("README.md", readme(plan, deployment, nodes, _steps(plan, nodes)))]
    for node in nodes:
        exported.append(ExportedFile(f"{node.label}.sh", script(plan, deployment, node, by_name), executable=True))
        exported += config_files(node)
    return (*exported, *firewall_files(plan, deployment, nodes))


FORMAT = Format("sh", "Shell scripts, one per node", _ABOUT, write)


def script(plan: LaunchPlan, deployment: Deployment, node: Node, nodes: dict[str, Node]) -> str:
    """Returns the script of `node`; `nodes` are all of the plan by name."""
    where = f" on {node.name}" if node.name else ""
    asking = next((other.label for other in nodes.values() if other.requests), node.label)
    lines = [
        "#!/usr/bin/env bash",
        f"# {one_line(plan.model)} by {plan.dialect}{where}: what this node starts, and the verbs for it.",
        "set -euo pipefail",
        "",
        f"readonly label={shlex.quote(node.label)}",
        f"readonly test_script={shlex.quote(f'{asking}.sh')}",
        f"readonly requests={len(node.requests)}",
        f"readonly processes=({_words(spec.name for spec in node.processes)})",
        f"readonly files=({_words(file.path for file in node.files)})",
        "",
        "# Sets what is known of process $1: its command and variables, its ports, and who goes first: name, URL,",
        "# seconds and script of each; cleanup removes its container.",
        "# shellcheck disable=SC1003,SC2016,SC2034,SC2054",
        "describe() {",
        "  case $1 in",
        *_cases(plan, node, nodes),
        "  esac",
        "}",
        "",
        "# Sets command to request $1.",
        "# shellcheck disable=SC1003,SC2016,SC2034,SC2054",
        "request() {",
        "  case $1 in",
        *_requests(node),
        "  esac",
        "}",
        "",
        "# Sets command to the engine's program for measuring; without one it stays empty.",
        "# shellcheck disable=SC1003,SC2016,SC2034,SC2054",
        "bench_command() {",
        f"  command=({_words(benchmark_command(plan, deployment))})",
        "}",
        "",
    ]
    return "\n".join(lines) + "\n" + shell_text("processes", "answers", "verbs")


def _cases(plan: LaunchPlan, node: Node, nodes: dict[str, Node]) -> Iterator[str]:
    labels = file_labels(spec.name for spec in node.processes)
    for spec, label in zip(node.processes, labels, strict=True):
        yield f"  {shlex.quote(spec.name)})"
        yield f"    file={shlex.quote(label)} log={shlex.quote(f'{label}.log')} directory={shlex.quote(spec.cwd)}"
        yield f"    ready={shlex.quote(ready_url(plan, spec, node.name))}"
        yield f"    ready_s={_seconds(spec.ready.timeout_s)} grace_s={_seconds(spec.grace_s)}"
        own = f"@{alias}" if (alias := alias_of(plan, spec)) else ""
        yield f"    ports=({' '.join(f'{port}{own}' for port in dict.fromkeys(spec.ports.values()))})"
        yield from _listed("waits", _waits(plan, spec, node, nodes))
        yield f"    cleanup=({_words(container_removal(spec))})"
        variables = (shlex.quote(f"{name}={value}") for name, value in environment(spec).items())
        yield from _listed("variables", variables)
        yield from _listed("command", option_lines(spec.argv))
        yield "    ;;"


def _waits(plan: LaunchPlan, spec: ProcessSpec, node: Node, nodes: dict[str, Node]) -> Iterator[str]:
    for name in spec.after:
        other = plan.process(name)
        if other is None:
            continue
        script_name = "" if other.node == node.name else f"{nodes[other.node].label}.sh"
        yield _words((name, ready_url(plan, other, node.name), str(_seconds(other.ready.timeout_s)), script_name))


def _requests(node: Node) -> Iterator[str]:
    for number, request in enumerate(node.requests, 1):
        yield f"  {number}) command=({_words(request.argv)}) ;;"
    yield "  *) return 1 ;;"


def _listed(name: str, lines: Iterable[str]) -> Iterator[str]:
    made = list(lines)
    if not made:
        yield f"    {name}=()"
        return
    yield f"    {name}=("
    yield from (f"      {line}" for line in made)
    yield "    )"


def _words(words: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, words))


def _seconds(value: float) -> int:
    return max(1, math.ceil(value))


def _steps(plan: LaunchPlan, nodes: Sequence[Node]) -> list[str]:
    asking = next((node for node in nodes if node.requests), nodes[-1])
    if len(nodes) == 1:
        node = nodes[0]
        copied = f"Copy `{node.label}.sh` and the folder `{node.label}`" if node.files else f"Copy `{node.label}.sh`"
        steps = [f"{copied} to the host, or run it here.", f"`./{node.label}.sh start`"]
        verbs = node.label
    else:
        steps = [
            "Copy this folder to every node, at the same place or on a file system that they share.",
            "Start all nodes, in this order and without waiting for one to finish; a script waits by itself for what "
            "it needs of the others, and says for what:\n\n"
            + "\n".join(f"   - on {code(node.name)}: `./{node.label}.sh start`" for node in nodes),
        ]
        verbs = "NODE"
    return [
        *steps,
        f"Ask for an answer{f' on {code(asking.name)}' if asking.name else ''}: `./{asking.label}.sh test`. "
        f"Measure: `./{asking.label}.sh bench`.",
        f"Look: `./{verbs}.sh status` (exit code 0: all ready, 3: nothing runs, 1: between) and "
        f"`./{verbs}.sh logs [-f] [PROCESS]`; logs are in the folder `{verbs}/logs`.",
        f"Stop{', on each node, the last one first' if len(nodes) > 1 else ''}: `./{verbs}.sh stop`. "
        "It ends each process with its children and returns when their ports "
        "are free. `start --foreground` stays, and stops all when it is interrupted or a process ends.",
    ]
