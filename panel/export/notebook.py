"""The format `notebook`: a Jupyter notebook that takes a person through a deployment step by step. Pure.

Cells run `pdpanel` on this host, or, when the deployment names hosts, the scripts of the format `sh` on those over ssh.
The notebook format is 4.5 (nbformat), whose cells have ids: here their numbers, so that the same plan gives the same
bytes.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from ..deployment import Deployment, dump_deployment
from ..launch import LaunchPlan
from .benchmark import benchmark_command
from .command_words import option_lines
from .exported import ExportedFile, Format
from .nodes import Node, nodes_of
from .readme import code

__all__ = ["FORMAT", "write"]

_ABOUT = "For reading and running step by step in Jupyter: the deployment, its commands, the test, bench and stop."
_FILE = "deployment.yaml"
_EXPORT = "export"
Cell = tuple[str, str]


def write(plan: LaunchPlan, deployment: Deployment) -> tuple[ExportedFile, ...]:
    """Returns the one notebook."""
    cells = [
        {
            "cell_type": kind,
            "id": f"cell-{number}",
            "metadata": {},
            **({"execution_count": None, "outputs": []} if kind == "code" else {}),
            "source": text.splitlines(keepends=True),
        }
        for number, (kind, text) in enumerate(_cells(plan, deployment))
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    document: dict[str, Any] = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return (ExportedFile(f"{deployment.name}.ipynb", json.dumps(document, indent=1, ensure_ascii=False) + "\n"),)


FORMAT = Format("notebook", "Jupyter notebook", _ABOUT, write)


def _cells(plan: LaunchPlan, deployment: Deployment) -> Iterator[Cell]:
    nodes = nodes_of(plan)
    yield _text("\n".join(_introduction(plan, deployment, nodes)))
    yield _text("## The deployment\n\nAll that follows is made from this file; change it here and run the cell again.")
    yield "code", f"%%writefile {_FILE}\n{dump_deployment(deployment)}"
    yield _text(
        "## What it comes to\n\nConfig files, then each process with its variables. Nothing starts yet. "
        "`pdpanel doctor` says what will go wrong."
    )
    yield _bash(f"pdpanel render {_FILE}")
    yield _bash(f"pdpanel doctor --deployment {_FILE} || true")
    yield from _remote(nodes) if any(node.name for node in nodes) else _here(plan, deployment, nodes)


def _introduction(plan: LaunchPlan, deployment: Deployment, nodes: Sequence[Node]) -> Iterator[str]:
    version = f" {plan.engine_version}" if plan.engine_version else ""
    yield f"# {plan.run_name}: {code(plan.model)}"
    yield ""
    yield f"Served by {deployment.engine}{version}; KV travels over {plan.transport}."
    if plan.router_url:
        yield f"Clients talk to {code(plan.router_url)}."
    yield ""
    yield "| node | process | ports |"
    yield "| --- | --- | --- |"
    for node in nodes:
        for spec in node.processes:
            ports = ", ".join(f"{purpose} {port}" for purpose, port in spec.ports.items())
            yield f"| {code(node.name)} | {code(spec.name)} | {ports} |"


def _here(plan: LaunchPlan, deployment: Deployment, nodes: Sequence[Node]) -> Iterator[Cell]:
    run = f"--run={shlex.quote(deployment.name)}"
    yield _text(
        "## Start\n\nThis returns when all processes are ready, and they go on when the notebook is closed. `--yes` "
        "says that you have read the commands above."
    )
    yield _bash(f"pdpanel up --yes {_FILE}")
    yield _text("## Look")
    yield _bash("pdpanel status")
    for spec in plan.processes:
        yield _bash(f"pdpanel logs {run} {shlex.quote(spec.name)} | tail -n 20")
    yield _text("## Ask for an answer\n\nThe smoke test: the first answer proves every step from the prompt to the KV.")
    for node in nodes:
        for request in node.requests:
            yield _bash(" \\\n  ".join(option_lines(request.argv)))
    bench = benchmark_command(plan, deployment)
    if bench:
        yield _text("## Measure\n\nThe engine's own program; `pdpanel parse-log` reads what it prints.")
        yield _bash(" \\\n  ".join(option_lines(bench)))
    else:
        yield _text("## Measure\n\nTen requests, one after the other, by the script of `pdpanel export`.")
        yield _bash(f"pdpanel export {_FILE} --format sh -o {_EXPORT} --force\n./{_EXPORT}/{nodes[0].label}.sh bench")
    yield _text("## Stop\n\nEnds the processes with their children; logs and samples stay until `pdpanel prune`.")
    yield _bash(f"pdpanel down {run}")


def _remote(nodes: Sequence[Node]) -> Iterator[Cell]:
    pairs = " ".join(shlex.quote(f"{node.address} {node.label}") for node in nodes)
    asking = next((node for node in nodes if node.requests), nodes[-1])
    ask = f"ssh {shlex.quote(asking.address)} ./{_EXPORT}/{asking.label}.sh"
    yield _text(
        "## Start\n\nA script for each node is copied there and started; it needs ssh without a password, and the "
        "engine on each node. The scripts wait for one another, so all start at once."
    )
    yield _bash(
        f"pdpanel export {_FILE} --format sh -o {_EXPORT} --force\n"
        f"for node in {pairs}; do\n"
        '  read -r address label <<<"$node"\n'
        '  if [[ $address == *:* ]]; then address="[$address]"; fi\n'
        f'  scp -rq {_EXPORT} "$address:"\n'
        "done"
    )
    yield _bash(
        "jobs=()\n"
        f"for node in {pairs}; do\n"
        '  read -r address label <<<"$node"\n'
        f'  ssh -n "$address" "./{_EXPORT}/$label.sh start" &\n'
        "  jobs+=($!)\n"
        "done\n"
        'for job in "${jobs[@]}"; do wait "$job"; done'
    )
    yield _text("## Look")
    for verb in ("status", "logs"):
        yield _bash(_everywhere(pairs, verb))
    yield _text("## Ask for an answer\n\nThe smoke test: the first answer proves every step from the prompt to the KV.")
    yield _bash(f"{ask} test")
    yield _text("## Measure\n\n`pdpanel parse-log` reads what the engine's own program prints.")
    yield _bash(f"{ask} bench")
    yield _text("## Stop\n\nEnds the processes of every node with their children; the logs stay there.")
    yield _bash(_everywhere(pairs, "stop"))


def _everywhere(pairs: str, verb: str) -> str:
    return (
        f"for node in {pairs}; do\n"
        '  read -r address label <<<"$node"\n'
        f'  ssh -n "$address" "./{_EXPORT}/$label.sh {verb}"\n'
        "done"
    )


def _text(text: str) -> Cell:
    return "markdown", text


def _bash(script: str) -> Cell:
    return "code", f"%%bash\n{script}"
