"""What the planner may know of a host that a deployment names: its devices, from a dump, typed lines or a probe.

Values. Whoever calls the planner reads dumps (`panel.planning` opens no file).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..deployment_parts import HostSpec

if TYPE_CHECKING:  # A probe's modules would cost every start of the command line.
    from ...nic_probe.host import Host
    from ...nic_probe.topology.survey import Topology

__all__ = ["NodeFacts", "Nodes", "typed_facts"]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One host.

    Attributes:
        gpus: how many GPUs it has; None is not known.
        gpu: their name; empty is not known.
        gpu_memory_bytes: memory of one of them; 0 is not known.
        nics: usable RDMA devices; None is not known.
        nic_gbps: line rate of each; 0 is not known.
        host: all that a probe or a dump says; None without one.
        topology: what follows from it.
    """

    gpus: int | None = None
    gpu: str = ""
    gpu_memory_bytes: int = 0
    nics: tuple[str, ...] | None = None
    nic_gbps: float = 0.0
    host: Host | None = None
    topology: Topology | None = None


Nodes = Mapping[str, NodeFacts]
"""By the host's name in the deployment; the empty name is this host."""


def typed_facts(spec: HostSpec) -> NodeFacts:
    """Returns what the lines of a deployment say of a host."""
    return NodeFacts(
        gpus=spec.gpus,
        gpu=spec.gpu or "",
        gpu_memory_bytes=int((spec.gpu_memory_gib or 0) * (1 << 30)),
        nics=tuple(spec.nics) if spec.nics is not None else None,
        nic_gbps=spec.nic_gbps or 0.0,
    )
