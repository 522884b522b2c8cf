"""What is known of the hosts that a deployment names: typed lines and dumps, as the planner wants them.

The thin shell in front of the pure planner: it alone opens dumps.
"""

from __future__ import annotations

from pathlib import Path

from ...engine.errors import ConfigError
from ...nic_probe import probe_host, survey_topology
from ...nic_probe.errors import SourceError
from ...nic_probe.sources.capture import open_capture
from ..deployment import Deployment
from ..deployment_parts import HostSpec
from .node_facts import NodeFacts, Nodes

__all__ = ["read_nodes"]


def read_nodes(deployment: Deployment, folder: Path) -> Nodes:
    """Returns the facts of each host in `deployment.hosts`; dumps are looked for in `folder`.

    Raises:
        ConfigError: a dump cannot be read.
    """
    return {name: _facts(name, spec, folder) for name, spec in deployment.hosts.items()}


def _facts(name: str, spec: HostSpec, folder: Path) -> NodeFacts:
    nics = tuple(spec.nics) if spec.nics is not None else None
    typed = NodeFacts(
        gpus=spec.gpus,
        gpu_memory_bytes=int((spec.gpu_memory_gib or 0) * (1 << 30)),
        nics=nics,
        nic_gbps=spec.nic_gbps or 0.0,
    )
    if spec.dump is None:
        return typed
    try:
        return _dumped(typed, folder / Path(spec.dump).expanduser())
    except SourceError as error:
        raise ConfigError(f"hosts.{name}.dump", spec.dump, str(error).rstrip("."), "write a readable dump") from None


def _dumped(typed: NodeFacts, path: Path) -> NodeFacts:
    host = probe_host(open_capture(path), {})
    topology = survey_topology(host)
    gpus = host.gpus.devices
    usable = tuple(fit.nic for fit in topology.fitness if fit.fit)
    return NodeFacts(
        gpus=typed.gpus if typed.gpus is not None else len(gpus),
        gpu_memory_bytes=typed.gpu_memory_bytes,
        nics=typed.nics if typed.nics is not None else usable,
        nic_gbps=typed.nic_gbps,
        host=host,
        topology=topology,
    )
