"""Which of a job's hosts stands for which node of the plan. Pure.

A deployment may name Slurm's nodes, or hosts that only stand for some node of the job. The first are asked for by
name; the others are places, filled by the job script once Slurm has said which hosts it gives. Until then an address
of such a host is a mark in the plan: `slurm_job` writes the `sed` that replaces it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..deployment_parts import HostSpec
from ..host_facts import elsewhere
from ..launch import LaunchPlan
from ..plan import plan as plan_of
from ..planning.node_facts import NodeFacts
from ..recipes.slurm_nodes import expand_nodes

__all__ = ["MARK", "JobHosts", "job_hosts", "mark"]

MARK = "pdpanel-slurm-host-"


@dataclass(frozen=True, slots=True)
class JobHosts:
    """A plan and where its nodes are in a job.

    Attributes:
        plan: the plan; addresses of open places are marks.
        names: for each node of the plan, in its order, the name that Slurm knows it by; empty is an open place.
        asked: the names to ask Slurm for; empty leaves the choice to Slurm.
    """

    plan: LaunchPlan
    names: tuple[str, ...]
    asked: tuple[str, ...]


def job_hosts(plan: LaunchPlan, deployment: Deployment) -> JobHosts:
    """Returns the nodes of a job for `plan`.

    Hosts that `slurm.nodes` names are used as they are, and all others take the rest of that list, in Slurm's order.
    Without `slurm.nodes` the hosts of the deployment are Slurm's nodes, but for addresses, which are no names; an
    empty list leaves every host to Slurm. A deployment that names no hosts takes one node.

    Raises:
        ConfigError: `slurm.nodes` has fewer names than the plan has nodes.
    """
    nodes = list(dict.fromkeys(spec.node for spec in plan.processes))
    listed = deployment.slurm.nodes
    if listed is None:
        names = tuple("" if not node or _is_address(node) else node for node in nodes)
        asked = tuple(filter(None, names))
    else:
        free = expand_nodes("slurm.nodes", listed)
        if free and len(free) < len(nodes):
            given, needed = ",".join(listed), len(nodes)
            raise ConfigError("slurm.nodes", given, f"names {len(free)}, but {needed} are needed", "name more nodes")
        names = tuple(node if node in free else "" for node in nodes)
        spare = [name for name in free if name not in names]
        asked = tuple([name for name in free if name in names] + spare[: names.count("")])
    places = [node for node, name in zip(nodes, names, strict=True) if not name]
    if not any(nodes) or not places:
        return JobHosts(plan, names, asked)
    return JobHosts(_marked(deployment, {node: mark(nodes.index(node)) for node in places}), names, asked)


def mark(number: int) -> str:
    """Returns what stands for the address of the plan's node `number`, from 0, until the job runs."""
    return f"{MARK}{number}-address"


def _marked(deployment: Deployment, marks: Mapping[str, str]) -> LaunchPlan:
    hosts = dict(deployment.hosts)
    for node, text in marks.items():
        if node:
            hosts[node] = hosts.get(node, HostSpec()).model_copy(update={"address": text})
    update: dict[str, object] = {"hosts": hosts}
    if "" in marks:
        update["host"] = marks[""]
    changed = deployment.model_copy(update=update)
    return plan_of(changed, elsewhere(), None, _typed(changed.hosts))


def _typed(hosts: Mapping[str, HostSpec]) -> dict[str, NodeFacts]:
    """What the file itself says of the hosts; a format opens no dumps."""
    return {
        name: NodeFacts(
            gpus=spec.gpus,
            gpu_memory_bytes=int((spec.gpu_memory_gib or 0) * (1 << 30)),
            nics=tuple(spec.nics) if spec.nics is not None else None,
            nic_gbps=spec.nic_gbps or 0.0,
        )
        for name, spec in hosts.items()
    }


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
