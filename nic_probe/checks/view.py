"""What a check of a host looks at: the host, its topology, and the devices that a question is about.

Pure. Every check takes this one value; the properties here are the answers that many of them share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..finding import Severity
from ..gpus.gpu import Gpu, Vendor
from ..host import Host
from ..nics.device import RdmaDevice, RdmaPort
from ..state import HostState
from ..topology.survey import Topology

__all__ = ["HostView"]


@dataclass(frozen=True, slots=True)
class HostView:
    """One host with what follows from where its devices sit."""

    host: Host
    topology: Topology

    @property
    def state(self) -> HostState:
        """What only checks look at."""
        return self.host.state

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables that a worker would inherit, as far as they are known."""
        return self.host.state.environ.otherwise({})

    @property
    def nics(self) -> tuple[RdmaDevice, ...]:
        """The RDMA devices, without those that manage a switch."""
        return tuple(nic for nic in self.host.rdma.otherwise(()) if not nic.management.otherwise(False))

    @property
    def active_nics(self) -> tuple[RdmaDevice, ...]:
        """The NICs with an ACTIVE port, whether a process may use them or not."""
        return tuple(nic for nic in self.nics if any(port.active for port in nic.ports))

    @property
    def placed_nics(self) -> tuple[RdmaDevice, ...]:
        """The NICs that are not known to be down; a topology file shows places and no states."""
        return tuple(
            nic for nic in self.nics if not nic.ports or any(port.active or not port.state.known for port in nic.ports)
        )

    @property
    def chosen_nics(self) -> tuple[RdmaDevice, ...]:
        """The ACTIVE NICs that KV would take: those near a GPU, else all that are fit, else all."""
        near = {name for names in self.topology.ib_devices.values() for name in names}
        fit = {fitness.nic for fitness in self.topology.fitness if fitness.fit}
        for names in (near, fit):
            found = tuple(nic for nic in self.active_nics if nic.name in names)
            if found:
                return found
        return self.active_nics

    @property
    def chosen_ports(self) -> tuple[tuple[RdmaDevice, RdmaPort], ...]:
        """The ACTIVE ports of the chosen NICs."""
        return tuple((nic, port) for nic in self.chosen_nics for port in nic.ports if port.active)

    @property
    def nvidia_gpus(self) -> tuple[Gpu, ...]:
        """NVIDIA's GPUs, also those that no driver has."""
        return tuple(gpu for gpu in self.host.gpus.devices if gpu.vendor is Vendor.NVIDIA)

    @property
    def serves(self) -> bool:
        """True for a host that is made for serving: one with GPUs or RDMA NICs."""
        return bool(self.host.gpus.devices or self.nics)

    @property
    def bare_metal(self) -> bool:
        """True when it is known that no hypervisor is below."""
        return self.state.machine.hypervisor.value == ""

    @property
    def in_container(self) -> bool:
        """True when it is known that this process lives in a container."""
        return bool(self.state.container.kind.value)

    def by_rdma(self) -> Severity:
        """Returns how much it matters that RDMA does not work: an error only where it could."""
        if self.active_nics:
            return Severity.ERROR
        return Severity.WARNING if self.nics else Severity.INFO
