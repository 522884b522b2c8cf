"""What is known of the hosts that a deployment names: typed lines and dumps, as the planner wants them.

The thin shell in front of the pure planner: it alone opens dumps.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ...engine.errors import ConfigError
from ...nic_probe import Host, probe_host, survey_topology, this_host_files
from ...nic_probe.errors import SourceError
from ...nic_probe.sources.capture import open_capture
from ...nic_probe.sources.files import HostFiles
from ..deployment import Deployment
from .hosts import HostTable
from .node_facts import NodeFacts, Nodes, typed_facts

__all__ = ["probe_this_host", "read_nodes"]


def read_nodes(deployment: Deployment, folder: Path) -> Nodes:
    """Returns the facts of each host in `deployment.hosts`; dumps are looked for in `folder`.

    Raises:
        ConfigError: a dump cannot be read.
    """
    dumped: dict[str, NodeFacts] = {}
    facts: dict[str, NodeFacts] = {}
    for name, spec in HostTable(deployment).specs().items():
        typed = typed_facts(spec)
        if spec.dump is None:
            facts[name] = typed
            continue
        if spec.dump not in dumped:
            dumped[spec.dump] = _read(name, spec.dump, folder)
        facts[name] = _joined(typed, dumped[spec.dump])
    return facts


def probe_this_host(environ: Mapping[str, str], files: HostFiles | None = None) -> NodeFacts:
    """Returns the facts of this host, to be given to the planner under the empty name.

    Args:
        environ: the variables that a worker would inherit.
        files: those of a simulated host in its place.
    """
    return _facts_of(probe_host(files or this_host_files(environ), environ))


def _read(name: str, dump: str, folder: Path) -> NodeFacts:
    try:
        return _dumped(folder / os.path.expanduser(dump))
    except SourceError as error:
        raise ConfigError(f"hosts.{name}.dump", dump, error.problem, error.remedy) from None


def _joined(typed: NodeFacts, dumped: NodeFacts) -> NodeFacts:
    """Returns the dump's facts, with what the person typed in their place."""
    return replace(
        dumped,
        gpus=dumped.gpus if typed.gpus is None else typed.gpus,
        gpu=typed.gpu or dumped.gpu,
        gpu_memory_bytes=typed.gpu_memory_bytes or dumped.gpu_memory_bytes,
        nics=dumped.nics if typed.nics is None else typed.nics,
        nic_gbps=typed.nic_gbps or dumped.nic_gbps,
    )


def _dumped(path: Path) -> NodeFacts:
    return _facts_of(probe_host(open_capture(path), {}))


def _facts_of(host: Host) -> NodeFacts:
    topology = survey_topology(host)
    return NodeFacts(
        gpus=len(host.gpus.devices),
        gpu=next((gpu.name.otherwise("") for gpu in host.gpus.devices), ""),
        gpu_memory_bytes=min((gpu.memory_total_bytes.otherwise(0) for gpu in host.gpus.devices), default=0),
        nics=tuple(fit.nic for fit in topology.fitness if fit.fit),
        host=host,
        topology=topology,
    )
