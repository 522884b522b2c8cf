"""A plan by the nodes that it runs on: what every format that writes something for each node needs. Pure.

Formats ask here for a node's processes and files, for where another node reaches a process, and for who waits for
whom; the answers are the same in all formats.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit

from ..dialects.placement import url
from ..launch import LaunchPlan, PlannedFile, ProcessSpec, Request
from .exported import ExportedFile

__all__ = ["Node", "alias_of", "config_files", "environment", "file_labels", "nodes_of", "ready_url"]

_OF_A_RUN = frozenset({"PDPANEL_RUN_ID", "PDPANEL_PROCESS"})


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a plan.

    Attributes:
        name: as the deployment names it; empty when it names none.
        label: a name for files, of letters, digits and `.-_`; unique in the plan.
        address: where the others reach it.
        processes: in the order in which they start.
        files: what its processes read or run, relative to the folder in which they start.
        requests: what shows that the deployment answers, to be run here.
    """

    name: str
    label: str
    address: str
    processes: tuple[ProcessSpec, ...]
    files: tuple[PlannedFile, ...]
    requests: tuple[Request, ...]


def nodes_of(plan: LaunchPlan) -> tuple[Node, ...]:
    """Returns the nodes in the order in which their first processes start."""
    names = list(dict.fromkeys(spec.node for spec in plan.processes))
    labels = dict(zip(names, file_labels(name or plan.run_name for name in names), strict=True))
    processes: dict[str, list[ProcessSpec]] = {name: [] for name in names}
    for spec in plan.processes:
        processes[spec.node].append(spec)
    shared = [file for file in plan.files if file.shared]
    files: dict[str, list[PlannedFile]] = {name: list(shared) for name in names}
    for file in plan.files:
        if not file.shared:
            files.setdefault(_home(plan, file.node, names), []).append(file)
    requests: dict[str, list[Request]] = {name: [] for name in names}
    for request in plan.requests:
        requests.setdefault(_home(plan, request.node, names), []).append(request)
    return tuple(
        Node(
            name=name,
            label=labels[name],
            address=plan.addresses.get(name) or name or plan.host,
            processes=tuple(processes[name]),
            files=tuple(files[name]),
            requests=tuple(requests[name]),
        )
        for name in names
    )


def config_files(node: Node) -> tuple[ExportedFile, ...]:
    """Returns the files of `node` in a folder of its own, which is where its processes start."""
    return tuple(ExportedFile(f"{node.label}/{file.path}", file.text) for file in node.files)


def environment(spec: ProcessSpec) -> dict[str, str]:
    """Returns the variables of a process without those that name a run of the panel."""
    return {name: value for name, value in spec.env.items() if name not in _OF_A_RUN}


def file_labels(names: Iterable[str]) -> tuple[str, ...]:
    """Returns a name for files for each of `names`: of letters, digits and `.-_`, no two alike."""
    labels: list[str] = []
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100].lstrip(".-") or "node"
        label, number = plain, 2
        while label.lower() in taken:
            label, number = f"{plain}-{number}", number + 1
        taken.add(label.lower())
        labels.append(label)
    return tuple(labels)


def ready_url(plan: LaunchPlan, spec: ProcessSpec, seen_from: str) -> str:
    """Returns what to ask on the node `seen_from` to learn whether `spec` is ready; empty when it answers nobody.

    A process that listens on all addresses is asked on loopback by its own node, and at its node's address by others.
    """
    asked = spec.ready.url
    if not asked or spec.node == seen_from:
        return asked
    parts = urlsplit(asked)
    address = plan.addresses.get(spec.node) or spec.node
    if not address or not _local_alone(parts.hostname or ""):
        return asked
    return url(address, parts.port or 80, parts.path)


def alias_of(plan: LaunchPlan, spec: ProcessSpec) -> str:
    """Returns the loopback address that a process alone listens on, as --host says; empty where it is not so.

    Nodes at several loopback addresses, such as 127.0.0.1 and 127.0.0.2, are one machine, and use the same ports there.
    """
    address = plan.addresses.get(spec.node, "")
    if not _is_loopback(address) or len({each for each in plan.addresses.values() if _is_loopback(each)}) < 2:
        return ""
    return address if ("--host", address) in pairwise(spec.argv) else ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.IPv4Address(address).is_loopback
    except ValueError:
        return False


def _local_alone(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def _home(plan: LaunchPlan, node: str, names: list[str]) -> str:
    """Whose a file or a request is: a plan for this host may leave the name out, and a request is the router's."""
    if node in names:
        return node
    router = plan.process("router")
    return router.node if router is not None else names[-1]
