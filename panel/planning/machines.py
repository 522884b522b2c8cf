"""The machines that a deployment runs on: the ports and GPUs of each while they are given out. Pure.

Names that lead to one address are one machine; loopback addresses, the empty name and this host's own are another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..host_facts import HostFacts
from .gpu_pool import GpuPool
from .hosts import HostTable, is_loopback
from .node_facts import NodeFacts, Nodes, typed_facts
from .node_ports import NodePorts

__all__ = ["Machine", "Machines"]

_EPHEMERAL = (32768, 60999)
_HERE = ""


@dataclass(slots=True)
class Machine:
    """One machine while it is filled."""

    ports: NodePorts
    gpus: GpuPool
    nodes: list[str] = field(default_factory=list)


class Machines:
    """Finds a node's machine and what is known of the node.

    Args:
        hosts: what the deployment says of hosts.
        local: this host; its ports in use count for the machine that it is.
        nodes: what was read of hosts; where nothing was, the deployment's typed lines count.
    """

    def __init__(self, hosts: HostTable, local: HostFacts, nodes: Nodes) -> None:
        self._hosts = hosts
        self._local = local
        self._nodes = nodes
        self._machines: dict[str, Machine] = {}
        self._of_node: dict[str, Machine] = {}

    def facts(self, node: str) -> NodeFacts:
        """Returns what is known of `node`, by its name or by the entry of `hosts` that stands for it."""
        known = self._nodes.get(node)
        if known is None:
            spec = self._hosts.spec(node)
            known = NodeFacts() if spec is None else typed_facts(spec)
        return known

    def of(self, node: str) -> Machine:
        """Returns the machine that `node` is."""
        machine = self._of_node.get(node)
        if machine is None:
            machine = self._of_node[node] = self._machine(node)
            machine.nodes.append(node)
        return machine

    def all(self) -> Iterable[Machine]:
        """Returns every machine that was asked for."""
        return self._machines.values()

    def _machine(self, node: str) -> Machine:
        address = self._hosts.address(node)
        here = not node or node == self._local.node or is_loopback(address)
        key = _HERE if here else address
        if key not in self._machines:
            taken = self._local.taken if here else ()
            ephemeral = self._local.ephemeral if here else _EPHEMERAL
            self._machines[key] = Machine(NodePorts(taken, ephemeral, node), GpuPool(self.facts(node).gpus))
        return self._machines[key]
