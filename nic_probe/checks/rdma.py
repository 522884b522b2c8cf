"""Checks of the way from a process to an RDMA NIC: kernel modules, device nodes, quotas, the user library."""

from __future__ import annotations

from ..finding import Evidence, Finding, Severity
from ..nics.device import RdmaDevice
from .check import Check, Rule
from .evidence import DOCKER_FLAGS, listed, seen
from .view import HostView

__all__ = ["CHECKS"]

_CM = "/dev/infiniband/rdma_cm"
# The library that libibverbs loads for a kernel driver, by the name in its configuration folder.
_PROVIDERS = {
    "mlx5_core": "mlx5",
    "mlx4_core": "mlx4",
    "bnxt_en": "bnxt_re",
    "ionic": "ionic",
    "erdma": "erdma",
    "efa": "efa",
    "ice": "irdma",
    "irdma": "irdma",
    "i40e": "irdma",
    "hfi1": "hfi1verbs",
    "qede": "qedr",
    "hns3": "hns",
}
_LIBRARY_OF = {"mlx5": "libmlx5.so.1"}

_NONE = Rule(
    "rdma-none",
    "Whether the host has an RDMA port that is ACTIVE",
    "Without RDMA the KV cache travels over TCP, which costs CPU time on both sides and reaches a fraction of the "
    "speed. Mooncake says nothing about it: it accepts any protocol name and takes TCP when it finds no NIC.",
    ("kvcache-ai/Mooncake#507", "sgl-project/sglang#7118", "kvcache-ai/Mooncake#257"),
)
_IBVERBS = Rule(
    "ibverbs-missing",
    "The RDMA user library (libibverbs)",
    "Mooncake's engine is linked against libibverbs.so.1, also for hosts that have no RDMA and use TCP. Without the "
    "library it does not import.",
    ("Mooncake wheel 0.3.13.post1",),
)
_VERBS_NODE = Rule(
    "verbs-node-missing",
    "Device nodes through which a process opens a NIC (/dev/infiniband/uverbsN)",
    "sysfs shows a NIC to every container, but a process opens it through a character device that has to be there, "
    "readable and writable. Mooncake drops a NIC that it cannot open with a warning in its log, and goes on over TCP.",
    ("vllm-project/vllm#42075", "kvcache-ai/Mooncake#507", "apache/brpc#2298"),
)
_RDMA_CM = Rule(
    "rdma-cm-missing",
    "The connection manager's device node (/dev/infiniband/rdma_cm)",
    "UCX, and NIXL over it, may set up connections through the kernel's connection manager. Mooncake does not need it.",
    ("Mellanox/k8s-rdma-shared-dev-plugin",),
)
_MODULES = Rule(
    "uverbs-not-loaded",
    "The kernel module that lets processes use NICs (ib_uverbs)",
    "A NIC's driver alone serves the kernel. Processes reach it through ib_uverbs, and without that module no user "
    "library finds a device.",
    ("rdma-core documentation: udev",),
)
_QUOTA = Rule(
    "rdma-quota",
    "What a control group may hold of each NIC (rdma.max)",
    "The rdma controller limits opened devices and objects such as queue pairs and memory regions. At the limit a "
    "device cannot be opened or memory not registered, with an error that names no quota.",
    ("Linux admin guide: cgroup v2, RDMA",),
)
_NAMESPACE = Rule(
    "rdma-namespace-exclusive",
    "Whether network namespaces share the NICs (rdma system)",
    "In exclusive mode a NIC belongs to one network namespace, and the others do not see it at all. In a container "
    "without the host's network that looks like a host without RDMA.",
    ("rdma-system(8)", "Linux: ib_core netns_mode"),
)
_PROVIDER = Rule(
    "verbs-provider-missing",
    "The user library of each NIC's driver (ibverbs-providers)",
    "libibverbs loads a library of its own for each kind of NIC. When that is missing the library lists 0 devices "
    "without an error, and Mooncake takes TCP.",
    ("kvcache-ai/Mooncake#3121",),
)


def rdma_none(view: HostView) -> list[Finding]:
    """Finds a host on which KV can travel over TCP alone."""
    devices = view.host.rdma
    if devices.value is None:
        return [
            _NONE.finding(
                Severity.UNKNOWN,
                "RDMA devices",
                [seen(devices)],
                "Whether this host has an RDMA device is not known.",
                "Let this user read /sys/class/infiniband.",
            )
        ]
    if any(_may_be_active(device, view.host.source) for device in devices.value):
        return []
    if not devices.value:
        evidence = [Evidence(devices.source, "lists no device")]
        reason = "This host has no RDMA device, so KV travels between workers over TCP."
        remedy = "On a host that has one, load the driver of its RDMA NIC; otherwise set MC_FORCE_TCP=1 to say so."
    else:
        evidence = [
            Evidence(f"{devices.source}/{device.name}/ports/{port.number}/state", str(port.state))
            for device in devices.value
            for port in device.ports
        ] or [Evidence(f"{devices.source}/{device.name}/ports", "lists no port") for device in devices.value]
        reason = "No RDMA port of this host is ACTIVE, so KV travels between workers over TCP."
        remedy = "Look at the cable and the switch port, and on InfiniBand at the subnet manager."
    # Several GPUs are there for more than a trial.
    severity = Severity.WARNING if len(view.host.gpus.devices) > 1 else Severity.INFO
    return [_NONE.finding(severity, "RDMA devices", evidence, reason, remedy)]


def ibverbs_missing(view: HostView) -> list[Finding]:
    """Finds a missing RDMA user library, which Mooncake needs even where it uses TCP."""
    library = view.host.ibverbs
    # Who never tried to load it has nothing to say: the facts of a capture, for one.
    if library.known or not (view.host.live or view.state.software.loads("libibverbs.so.1") is False):
        return []
    return [
        _IBVERBS.finding(
            Severity.ERROR if view.active_nics else Severity.WARNING,
            "libibverbs.so.1",
            [seen(library)],
            "Mooncake does not import without this library, so workers fall back to the tcp transport or do not start.",
            "Install the RDMA user library: apt-get install libibverbs1 ibverbs-providers, or dnf install libibverbs.",
        )
    ]


def verbs_node_missing(view: HostView) -> list[Finding]:
    """Finds ACTIVE NICs that a process cannot open."""
    if not view.state.devices.known:
        return []  # Nobody looked.
    shut = [nic for nic in view.active_nics if not nic.verbs_node.known]
    if not shut:
        return []
    denied = any("permi" in nic.verbs_node.reason or "writ" in nic.verbs_node.reason for nic in shut)
    if view.in_container:
        remedy = DOCKER_FLAGS
    elif denied:
        remedy = "sudo usermod -aG rdma $USER (or: sudo chmod 666 /dev/infiniband/uverbs*), then log in again."
    else:
        remedy = "sudo modprobe ib_uverbs; the nodes appear in /dev/infiniband."
    every = len(shut) == len(view.active_nics)
    chosen = {nic.name for nic in view.chosen_nics}
    return [
        _VERBS_NODE.finding(
            Severity.ERROR if every or any(nic.name in chosen for nic in shut) else Severity.WARNING,
            listed(nic.name for nic in shut),
            [Evidence(nic.verbs_node.source, nic.verbs_node.reason) for nic in shut],
            f"{'No' if every else 'Not every'} ACTIVE NIC can be opened by this user, so Mooncake drops "
            f"{'all of them and takes TCP' if every else 'those'} without an error "
            "(vllm-project/vllm#42075, kvcache-ai/Mooncake#507).",
            remedy,
        )
    ]


def rdma_cm_missing(view: HostView) -> list[Finding]:
    """Reports a missing connection manager where NICs are in use."""
    node = view.state.devices.otherwise({}).get(_CM)
    if node is None or node.kind == "character" or not view.active_nics:
        return []
    return [
        _RDMA_CM.finding(
            Severity.INFO,
            _CM,
            [seen(view.state.devices, f"{_CM} is {node.kind}")],
            "UCX and NIXL cannot use the kernel's connection manager; Mooncake does not need it.",
            "docker run --device /dev/infiniband/rdma_cm ..." if view.in_container else "sudo modprobe rdma_ucm",
        )
    ]


def uverbs_not_loaded(view: HostView) -> list[Finding]:
    """Finds NICs without the module that lets processes use them.

    A module that is built in has no entry, so the absence counts only when the modules beside it are listed and
    no NIC has a device of that module's.
    """
    modules = view.state.kernel.modules
    loaded = modules.otherwise({})
    if not view.host.live or "ib_uverbs" in loaded or "ib_core" not in loaded or not view.active_nics:
        return []
    if any(nic.verbs_node.known for nic in view.nics):
        return []
    return [
        _MODULES.finding(
            Severity.ERROR,
            "ib_uverbs",
            [seen(modules, "ib_core is loaded, ib_uverbs is not")],
            "No process can use the RDMA NICs of this host, and Mooncake takes TCP.",
            "sudo modprobe ib_uverbs; keep it with `echo ib_uverbs > /etc/modules-load.d/rdma.conf`.",
        )
    ]


def rdma_quota(view: HostView) -> list[Finding]:
    """Finds NICs of which the control group may hold nothing more."""
    container = view.state.container
    held = container.rdma_current.otherwise({})
    findings: list[Finding] = []
    for nic in view.active_nics:
        quota = container.rdma_max.otherwise({}).get(nic.name)
        if quota is None:
            continue
        now = held.get(nic.name)
        kinds = (
            ("hca_handle", quota.handles, now.handles if now else 0),
            ("hca_object", quota.objects, now.objects if now else 0),
        )
        full = [(kind, most, used or 0) for kind, most, used in kinds if most is not None and (used or 0) >= most]
        if full:
            findings.append(
                _QUOTA.finding(
                    Severity.ERROR,
                    nic.name,
                    [seen(container.rdma_max, f"{kind}: {used} of {most} in use") for kind, most, used in full],
                    f"The control group may hold nothing more of {nic.name}, so workers cannot open it or register "
                    "memory with it.",
                    f"echo '{nic.name} hca_handle=max hca_object=max' > rdma.max of the control group, as root on the "
                    "host.",
                )
            )
    return findings


def rdma_namespace_exclusive(view: HostView) -> list[Finding]:
    """Reports the mode in which a container sees only the NICs that were given to it."""
    shared = view.state.kernel.rdma_shared
    if shared.value is not False:
        return []
    hidden = view.in_container and not view.nics
    return [
        _NAMESPACE.finding(
            Severity.WARNING if hidden else Severity.INFO,
            "RDMA network namespaces",
            [seen(shared, "exclusive")],
            "This container sees no NIC, perhaps since each belongs to one network namespace."
            if hidden
            else "A container sees only the NICs that were moved into its network namespace.",
            "rdma system set netns shared, on the host while no container runs; or docker run --network host ...",
        )
    ]


def verbs_provider_missing(view: HostView) -> list[Finding]:
    """Finds NICs for whose driver libibverbs has no library."""
    software = view.state.software
    known = software.verbs_providers
    missing: dict[str, list[str]] = {}
    for nic in view.active_nics:
        provider = _PROVIDERS.get(nic.driver.otherwise(""))
        if provider is None or provider in known.otherwise(()):
            continue
        library = _LIBRARY_OF.get(provider, "")
        # The list of drivers or the loader has to say so; a build of its own may keep its list elsewhere.
        told = known.known or software.loads(library) is False
        if told and not software.loads(library):
            missing.setdefault(provider, []).append(nic.name)
    findings: list[Finding] = []
    for provider, names in sorted(missing.items()):
        evidence = [seen(known, f"lists no {provider}" if known.known else "")]
        error = software.libraries.otherwise({}).get(_LIBRARY_OF.get(provider, ""))
        if error:
            evidence.append(seen(software.libraries, error))
        findings.append(
            _PROVIDER.finding(
                Severity.ERROR,
                listed(names),
                evidence,
                f"libibverbs has no library for {provider}, so it lists no device, and Mooncake takes TCP without an "
                "error (kvcache-ai/Mooncake#3121).",
                "apt-get install ibverbs-providers, or dnf install rdma-core.",
                "ibverbs-providers",
            )
        )
    return findings


def _may_be_active(device: RdmaDevice, source: str) -> bool:
    """True unless every port is known to be down; a topology file tells no state, and often no port."""
    return any(port.active or not port.state.known for port in device.ports) or (source != "sysfs" and not device.ports)


CHECKS: tuple[Check[HostView], ...] = (
    Check(_NONE, rdma_none),
    Check(_IBVERBS, ibverbs_missing),
    Check(_VERBS_NODE, verbs_node_missing),
    Check(_RDMA_CM, rdma_cm_missing),
    Check(_MODULES, uverbs_not_loaded),
    Check(_QUOTA, rdma_quota),
    Check(_NAMESPACE, rdma_namespace_exclusive),
    Check(_PROVIDER, verbs_provider_missing),
)
