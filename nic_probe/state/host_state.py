"""The state of a host: in one value, everything that only checks look at.

Called by `host`; the readers beside this file fill it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..reading import Reading
from ..sources.files import HostFiles
from .container import Container, probe_container
from .environment import probe_environment
from .facts import Facts
from .kernel import KernelSettings, probe_kernel
from .limits import Limits, probe_limits
from .machine import Machine, probe_machine
from .network import NetworkState, probe_network
from .pci import PciState, probe_pci_state
from .places import DeviceNode, Space, probe_devices, probe_space
from .software import Software, probe_software

__all__ = ["HostState", "probe_state"]

_CUSTOM_TOPOLOGY = "MC_CUSTOM_TOPO_JSON"
# What no kernel file tells; without these a capture leaves questions open.
_EXPECTED = ("addresses", "clock", "devices", "environ", "hostname_addresses", "libraries", "packages", "space")


@dataclass(frozen=True, slots=True)
class HostState:
    """What only checks look at.

    Attributes:
        facts_missing: names of the facts that the source lacks, out of those that no kernel file tells.
        environ: the variables that a worker would inherit, as far as they matter here.
        devices: device nodes by path.
        space: room in file systems by path.
        pci: PCI functions by address.
        custom_topology: text of the file that MC_CUSTOM_TOPO_JSON names; unreadable without that variable.
    """

    facts_missing: tuple[str, ...]
    environ: Reading[Mapping[str, str]]
    limits: Limits
    kernel: KernelSettings
    network: NetworkState
    container: Container
    software: Software
    machine: Machine
    devices: Reading[Mapping[str, DeviceNode]]
    space: Reading[Mapping[str, Space]]
    pci: Mapping[str, PciState]
    custom_topology: Reading[str]


def probe_state(files: HostFiles, environ: Mapping[str, str], pci: Iterable[str]) -> HostState:
    """Returns the state of the host; raises nothing.

    Args:
        files: the files of the host.
        environ: the variables of this process; a capture brings its own.
        pci: addresses of the PCI functions to look at, such as 0000:18:00.0.
    """
    facts = Facts(files.facts())
    return HostState(
        facts_missing=tuple(name for name in _EXPECTED if not facts.has(name)),
        environ=probe_environment(files, facts, environ),
        limits=probe_limits(files, facts),
        kernel=probe_kernel(files),
        network=probe_network(files, facts),
        container=probe_container(files),
        software=probe_software(files, facts),
        machine=probe_machine(files, facts),
        devices=probe_devices(facts),
        space=probe_space(files, facts),
        pci=probe_pci_state(files, pci),
        custom_topology=_custom_topology(files, environ.get(_CUSTOM_TOPOLOGY, "")),
    )


def _custom_topology(files: HostFiles, path: str) -> Reading[str]:
    if not path:
        return Reading.unreadable("environment", f"{_CUSTOM_TOPOLOGY} is not set")
    if not path.startswith("/"):
        return Reading.unreadable(path, "depends on the folder that a worker is started in")
    return files.text(path.lstrip("/"))
