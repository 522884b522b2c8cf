"""A host in order, as the checks look at it, and cases that put one thing of it out of order.

`make_view` has GPUs and NICs in pairs below switches, on two NUMA nodes, and a state that lacks nothing. A case names
a check, the view that it has to find something in, and one that is all right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pdpanel.nic_probe.checks.registry import HOST_CHECKS
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.cpu import NumaNode
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.nic_probe.gpus.gpu import Gpu, Gpus
from pdpanel.nic_probe.host import probe_host
from pdpanel.nic_probe.memory import Memory
from pdpanel.nic_probe.netdev import Netdev
from pdpanel.nic_probe.nics.device import Gid, RdmaDevice
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.state import HostState
from pdpanel.nic_probe.state.container import Container
from pdpanel.nic_probe.state.kernel import KernelSettings
from pdpanel.nic_probe.state.limits import Limit, Limits
from pdpanel.nic_probe.state.machine import Machine
from pdpanel.nic_probe.state.network import ArpRules, NetworkState
from pdpanel.nic_probe.state.pci import PciState
from pdpanel.nic_probe.state.places import DeviceNode, Space
from pdpanel.nic_probe.state.software import Software
from pdpanel.nic_probe.topology.pci import PciDevice
from pdpanel.nic_probe.topology.survey import survey_topology
from simulated_host import make_gpu, make_nic, make_pci, make_pci_tree, make_port, read, unread

__all__ = ["GPU_PCI", "NIC_PCI", "Case", "found", "make_netdev", "make_state", "make_view", "pci_state", "roce_nic"]

GIB = 1 << 30
GPU_PCI = ("0000:18:00.0", "0000:98:00.0")
NIC_PCI = ("0000:19:00.0", "0000:99:00.0")
_ROOTS = ("pci0000:16", "pci0000:96")
_UNLIMITED = Limit(None, None)


@dataclass(frozen=True, slots=True)
class Case:
    """One check with a host that it finds something in and one that it does not.

    Attributes:
        says: a part of the first finding's remedy, or of what it corrects to.
    """

    id: str
    severity: Severity
    fires: Callable[[], HostView]
    quiet: Callable[[], HostView]
    says: str = ""

    def verify(self) -> None:
        """Fails unless the check finds what it should, in the shape of a finding, and nothing else."""
        findings = found(self.id, self.fires())
        assert findings, f"{self.id} finds nothing"
        first = findings[0]
        assert first.severity is self.severity
        assert {finding.id for finding in findings} == {self.id}
        assert all(evidence.source and evidence.value for finding in findings for evidence in finding.evidence)
        assert first.evidence
        assert first.subject
        assert first.reason.endswith(".")
        assert first.reason.isprintable()
        assert first.remedy
        assert self.says in f"{first.remedy} {first.corrected}"
        assert found(self.id, self.quiet()) == []


def found(id_: str, view: HostView) -> list[Finding]:
    """Returns what the check with this id finds."""
    (check,) = (check for check in HOST_CHECKS if check.rule.id == id_)
    return check.judge(view)


def make_netdev(name: str, *addresses: str, **changes: Any) -> Netdev:
    """Returns an interface that is up, with `addresses` such as 10.0.0.2/24."""
    netdev = Netdev(
        name=name,
        mac=read("a0:88:c2:00:00:01"),
        mtu=read(9000),
        speed_mbps=read(400_000),
        operstate=read("up"),
        addresses=read(tuple(address.partition("/")[0] for address in addresses)),
        driver=read("mlx5_core"),
        pci=unread("is virtual"),
        numa_node=unread("is virtual"),
        loopback=name == "lo",
        carrier=read(True),
        master=unread("has none"),
        default_route=read(name == "eth0"),
        networks=read(tuple(_network(address) for address in addresses)),
    )
    return replace(netdev, **changes)


def roce_nic(number: int, *, port: dict[str, Any] | None = None, **changes: Any) -> RdmaDevice:
    """Returns the NIC mlx5_N at its place in the tree, with the interface ethN+1."""
    netdev = f"eth{number + 1}"
    gid = Gid(3, f"192.168.{number}.1", read("RoCE v2"), read(netdev), rank=0)
    values = {"gids": (gid,), "netdevs": (netdev,), **(port or {})}
    nic = make_nic(
        f"mlx5_{number}",
        NIC_PCI[number % 2],
        numa_node=read(number % 2),
        netdevs=read((netdev,)),
        verbs_node=read(f"/dev/infiniband/uverbs{number}"),
        ports=(make_port(**values),),
    )
    return replace(nic, **changes)


def make_view(
    gpus: Sequence[Gpu] | None = None,
    nics: Sequence[RdmaDevice] | None = None,
    *,
    state: HostState | None = None,
    pci: Sequence[PciDevice] = (),
    **changes: Any,
) -> HostView:
    """Returns a live host of two nodes with its topology; two GPUs and two NICs unless others are given.

    Args:
        pci: functions that take the place of those of the same address.
    """
    host = probe_host(HostFiles(MemoryTree({})), {})
    tree = {device.address: device for device in (*_tree(), *pci)}
    nodes = tuple(NumaNode(number, read(f"{16 * number}-{16 * number + 15}"), read(GIB << 8)) for number in range(2))
    memory = Memory(*map(read, (512 * GIB, 400 * GIB, 0, 0, 0, 0, 2 << 20)))
    gpus = _two_gpus() if gpus is None else gpus
    nics = (roce_nic(0), roce_nic(1)) if nics is None else nics
    values = {
        "live": True,
        "name": read("node-1"),
        "kernel": read("6.8.0-60-generic"),
        "cpu": replace(host.cpu, numa_nodes=nodes),
        "memory": memory,
        "netdevs": (
            make_netdev("lo", "127.0.0.1/8"),
            make_netdev("eth1", "192.168.0.1/24"),
            make_netdev("eth2", "192.168.1.1/24"),
        ),
        "rdma": read(tuple(nics)),
        "gpus": Gpus(tuple(gpus), read("570.86.15"), read("12.8")),
        "pci": make_pci_tree(*tree.values()),
        "ibverbs": read("libibverbs.so.1"),
        "state": state or make_state(),
        **changes,
    }
    host = replace(host, **values)
    return HostView(host, survey_topology(host))


def make_state(environ: dict[str, str] | None = None, **groups: Any) -> HostState:
    """Returns the state of a healthy host; a group such as `limits` takes the fields that differ."""
    state = HostState(
        facts_missing=(),
        environ=read(environ or {}),
        limits=_limits(),
        kernel=_kernel(),
        network=_network_state(),
        container=Container(read(""), unread("no limits"), unread("no limits"), unread("no limit")),
        software=Software(
            packages=read({"torch": "2.9.1+cu128", "mooncake-transfer-engine": "0.3.13", "sglang": "0.5.9"}),
            missing_libraries=read({"mooncake": ()}),
            wheel_libraries=read(()),
            libraries=read({"libibverbs.so.1": "", "libmlx5.so.1": ""}),
            verbs_providers=read(("mlx5", "efa")),
            python=read("3.11.8"),
        ),
        machine=Machine(read(True), read("performance"), read("acpi-cpufreq"), read(0.0), read("")),
        devices=read({"/dev/infiniband/rdma_cm": DeviceNode("character", True, True)}),
        space=read({"/dev/shm": Space(256 * GIB, 200 * GIB), "/tmp": Space(500 * GIB, 300 * GIB)}),
        pci={address: pci_state() for address in (*GPU_PCI, *NIC_PCI)},
        custom_topology=unread("is not set"),
    )
    changes: dict[str, Any] = {
        name: replace(getattr(state, name), **value) if name in _GROUPS else value for name, value in groups.items()
    }
    return replace(state, **changes)


def pci_state(**changes: Any) -> PciState:
    """Returns a PCI function without errors."""
    return replace(PciState(read(0), read(0), read(0), unread("is no bridge"), read("identity")), **changes)


_GROUPS = ("limits", "kernel", "network", "container", "software", "machine")


def _limits() -> Limits:
    everything = frozenset(range(32))
    return Limits(
        memlock=read(_UNLIMITED),
        nofile=read(Limit(1 << 20, 1 << 20)),
        stack=read(_UNLIMITED),
        core=read(_UNLIMITED),
        processes=read(_UNLIMITED),
        capabilities=read(frozenset()),
        user_namespace=read(False),
        cpus_allowed=read(everything),
        mems_allowed=read(frozenset((0, 1))),
    )


def _kernel() -> KernelSettings:
    return KernelSettings(
        max_map_count=read(16777216),
        overcommit_memory=read(1),
        swappiness=read(10),
        numa_balancing=read(0),
        transparent_huge_pages=read("madvise"),
        command_line=read("quiet iommu=pt"),
        modules=read(dict.fromkeys(("nvidia", "nvidia_peermem", "gdrdrv", "ib_core", "ib_uverbs"), "")),
        nvidia_open=read(True),
        rdma_shared=read(True),
        options=unread("is not looked at"),
        iommu_groups=read(0),
    )


def _network_state() -> NetworkState:
    rules = ArpRules(read(0), read(1), read(2))
    return NetworkState(
        ephemeral_ports=read((32768, 60999)),
        reserved_ports=read(()),
        listeners=read(()),
        time_wait=read(3),
        hostname_addresses=read(("192.168.0.1",)),
        arp={"eth1": rules, "eth2": rules},
    )


def _two_gpus() -> tuple[Gpu, ...]:
    return tuple(make_gpu(pci, index, numa_node=read(index)) for index, pci in enumerate(GPU_PCI))


def _tree() -> list[PciDevice]:
    """On each node a root port, a switch with two ports, and below these the GPU and the NIC."""
    devices: list[PciDevice] = []
    for node, root in enumerate(_ROOTS):
        bus = int(root[-2:], 16)
        port, uplink = f"0000:{bus:02x}:01.0", f"0000:{bus + 1:02x}:00.0"
        downlinks = [f"0000:{bus + 1:02x}:{slot:02x}.0" for slot in (8, 9)]
        devices += [make_pci(port, root, numa_node=node), make_pci(uplink, root, port, numa_node=node)]
        for downlink, card in zip(downlinks, (GPU_PCI[node], NIC_PCI[node]), strict=True):
            devices.append(make_pci(downlink, root, port, uplink, numa_node=node))
            devices.append(make_pci(card, root, port, uplink, downlink, numa_node=node))
    return devices


def _network(address: str) -> str:
    host, _, prefix = address.partition("/")
    return f"{host.rpartition('.')[0]}.0/{prefix}" if prefix == "24" else address
