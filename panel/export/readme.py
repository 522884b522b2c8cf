"""README.md of an export: what runs where, what to do in which order, and what the plan noticed. Pure.

Formats give the steps; the rest is the same in all. Text of a plan is shown as code or as one plain line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...nic_probe.finding import Severity
from ..deployment import Deployment
from ..launch import LaunchPlan, Role
from ..runner.journal import one_line
from .firewall import table_name
from .nodes import Node

__all__ = ["code", "readme"]

_SHOWN = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN)


def readme(
    plan: LaunchPlan, deployment: Deployment, nodes: Sequence[Node], steps: Sequence[str], *, firewall: bool = True
) -> str:
    """Returns the text.

    Args:
        steps: the format's own, in Markdown; they get their numbers here.
        firewall: False for a format that brings no rules of `nft`.
    """
    return "\n".join(_lines(plan, deployment, nodes, steps, firewall)) + "\n"


def code(text: str) -> str:
    """Returns `text` as code within a line of Markdown."""
    plain = one_line(text)
    fence = "``" if "`" in plain else "`"
    space = " " if "`" in plain else ""
    return f"{fence}{space}{plain}{space}{fence}" if plain else "this host"


def _lines(
    plan: LaunchPlan, deployment: Deployment, nodes: Sequence[Node], steps: Sequence[str], firewall: bool
) -> Iterator[str]:
    version = f" {plan.engine_version}" if plan.engine_version else ""
    yield f"# {plan.run_name}: {code(plan.model)} by {deployment.engine}{version}"
    yield ""
    yield f"Dialect {plan.dialect}, KV over {plan.transport}. `deployment.yaml` is what all of this was made from."
    if plan.router_url:
        yield f"Clients talk to {code(plan.router_url)}."
    yield ""
    yield "## What runs where"
    yield ""
    yield "| node | process | ports | ready when |"
    yield "| --- | --- | --- | --- |"
    for node in nodes:
        for spec in node.processes:
            ports = ", ".join(f"{purpose} {port}" for purpose, port in spec.ports.items())
            ready = code(spec.ready.url) + " answers" if spec.ready.url else "it runs"
            yield f"| {_cell(code(node.name))} | {_cell(code(spec.name))} | {_cell(ports)} | {_cell(ready)} |"
    yield ""
    yield "## What to do"
    yield ""
    for number, step in enumerate(steps, 1):
        yield f"{number}. {step}"
    yield from _programs(plan)
    if firewall and len(nodes) > 1:
        yield from _firewall(plan)
    findings = [finding for finding in plan.findings if finding.severity in _SHOWN]
    if findings:
        yield from ("", "## What the plan noticed", "")
        for finding in findings:
            yield f"- {finding.severity.value} {finding.id}: {one_line(finding.reason)} {one_line(finding.remedy)}"


def _programs(plan: LaunchPlan) -> Iterator[str]:
    """Says which programs come neither with the export nor with the engine's package."""
    brought = {file.path for file in plan.files}
    lacking = [
        (spec, word)
        for spec in plan.processes
        for word in spec.argv[1:2]
        if word.endswith(".py") and not word.startswith("/") and word not in brought
    ]
    if not lacking:
        return
    yield from ("", "## What else it takes", "")
    for spec, word in lacking:
        place = f"the folder {code(spec.cwd)}" if spec.cwd else "the folder that it starts in, NODE here"
        yield (
            f"- {code(spec.name)} runs {code(word)}, which is in the engine's repository and in no package: put it, at "
            f"that path, into {place}, or use an image that has it in its working directory."
        )


def _firewall(plan: LaunchPlan) -> Iterator[str]:
    yield ""
    yield "## Who may connect"
    yield ""
    yield (
        "Workers and Mooncake listen without a password, Mooncake on all addresses. `NODE/firewall.nft` admits the "
        "hosts of this deployment alone to the ports of that node, and everybody to the router; all else stays as it "
        f"is. As root: `nft -f NODE/firewall.nft`, and to undo it `nft delete table inet {table_name(plan)}`. RDMA "
        "does not pass through it."
    )
    if any(spec.rank or spec.role is Role.ENCODER for spec in plan.processes):
        yield (
            "Ranks of one worker, and encoders and those who ask them, also meet at ports that the kernel chooses, "
            "which no rule here names: keep the nodes in a network that you trust."
        )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
