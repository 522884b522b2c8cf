"""Checks of the container around this process: what it was not given, as docker's flags."""

from __future__ import annotations

from ..finding import Evidence, Finding, Severity
from .check import Check, Rule
from .evidence import DOCKER_FLAGS, seen
from .view import HostView

__all__ = ["CHECKS"]

_GIB = 1 << 30

_FLAGS = Rule(
    "container-flags",
    "What a container lacks for RDMA",
    "sysfs in a container shows the NICs of the whole host, so everything looks right. Without the device nodes, the "
    "right to pin memory and the network of the NICs Mooncake finds no device and takes TCP without an error.",
    ("vllm-project/vllm#42075", "kvcache-ai/Mooncake#507", "apache/brpc#2298"),
)
_NETWORK = Rule(
    "container-network",
    "Whether a container has the network of the host",
    "With a network of its own a container has one virtual interface, and the GIDs of the host's RoCE ports belong "
    "to interfaces that it does not see. TCP goes through a bridge and address translation, so that ports have to be "
    "published and the address that a worker tells its peers is not the one that they reach.",
    ("projectcalico/calico#8482", "vllm-project/vllm#42090"),
)


def container_flags(view: HostView) -> list[Finding]:
    """Gathers everything that this container lacks into one command."""
    if not view.in_container or not view.active_nics:
        return []
    state = view.state
    limits = state.limits
    evidence = [seen(state.container.kind)]
    flags: list[str] = []
    if state.devices.known and not any(nic.verbs_node.known for nic in view.active_nics):
        evidence.append(seen(state.devices, "no /dev/infiniband/uverbsN that can be opened"))
        flags.append("--device /dev/infiniband")
    memlock = limits.memlock.value
    if memlock is not None and memlock.soft is not None and memlock.soft < _GIB and not limits.may("IPC_LOCK"):
        evidence.append(seen(limits.memlock, f"memlock {memlock.soft} bytes, without IPC_LOCK"))
        flags += ["--cap-add IPC_LOCK", "--ulimit memlock=-1"]
    shm = state.space.otherwise({}).get("/dev/shm")
    if shm is not None and shm.total_bytes < _GIB:
        evidence.append(seen(state.space, f"/dev/shm has {shm.total_bytes} bytes"))
        flags.append("--shm-size 32g")
    if _own_network(view):
        evidence.append(Evidence("/sys/class/net", "holds no interface of a NIC"))
        flags.append("--network host")
    if not flags:
        return []
    return [
        _FLAGS.finding(
            Severity.WARNING,
            "container",
            evidence,
            "This container sees RDMA NICs and was not given what it takes to use them, so KV travels over TCP "
            "without an error (vllm-project/vllm#42075, kvcache-ai/Mooncake#507).",
            DOCKER_FLAGS,
            " ".join(flags),
        )
    ]


def container_network(view: HostView) -> list[Finding]:
    """Finds a container with a network of its own beside RoCE NICs."""
    if not view.in_container or not _own_network(view):
        return []
    return [
        _NETWORK.finding(
            Severity.WARNING,
            "container network",
            [
                seen(view.state.container.kind),
                Evidence("/sys/class/net", ", ".join(netdev.name for netdev in view.host.netdevs) or "is empty"),
            ],
            "The interfaces of the RoCE NICs are not in this container, so their GIDs cannot be used here "
            "(projectcalico/calico#8482).",
            "docker run --network host ..., or in Kubernetes hostNetwork: true, macvlan or SR-IOV.",
            "--network host",
        )
    ]


def _own_network(view: HostView) -> bool:
    """True when there are RoCE ports and none of their interfaces, nor any other of a PCI device, is here."""
    ports = [port for nic in view.active_nics for port in nic.ports if port.active]
    if not any(port.link_layer.value == "Ethernet" for port in ports) or not view.host.netdevs:
        return False
    return not any(port.netdevs for port in ports) and not any(netdev.pci.known for netdev in view.host.netdevs)


CHECKS: tuple[Check[HostView], ...] = (
    Check(_FLAGS, container_flags),
    Check(_NETWORK, container_network),
)
