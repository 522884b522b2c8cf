"""Checks of where GPUs and NICs sit to each other, and of what Mooncake makes of it."""

from __future__ import annotations

import json

from ..finding import Evidence, Finding, Severity
from ..topology.choice import ib_device_value
from ..topology.survey import PathClass
from .check import Check, Rule
from .evidence import listed, seen, variable
from .view import HostView

__all__ = ["CHECKS"]

_CUSTOM = "MC_CUSTOM_TOPO_JSON"
_WRITE = "pdpanel topology --mooncake > topology.json; export MC_CUSTOM_TOPO_JSON=$PWD/topology.json"

_FAR = Rule(
    "gpu-far-from-nics",
    "Whether each GPU has a NIC on its side of the host",
    "Between sockets a transfer crosses the link of the CPUs, which many GPUs share and which GPUDirect hardly uses. "
    "A GPU whose NICs all sit at the other socket sends its KV at a part of their speed.",
    ("sgl-project/sglang#23003", "kvcache-ai/Mooncake#429", "NVIDIA/nccl#933"),
)
_IDLE = Rule(
    "nic-idle",
    "NICs that Mooncake would prefer for no GPU",
    "Mooncake prefers for each GPU the NICs at the smallest PCI distance on its node. A NIC that is the nearest of no "
    "GPU carries KV only in retries, and its bandwidth is lost.",
    ("kvcache-ai/Mooncake#813", "kvcache-ai/Mooncake#507", "kvcache-ai/Mooncake#3828", "sgl-project/sglang#8324"),
)
_DOUBTFUL = Rule(
    "nic-unfit-preferred",
    "NICs that Mooncake would prefer although they are not for KV",
    "Mooncake goes by PCI distance alone. A storage or management NIC, a slow one or one without a usable GID may sit "
    "as near to a GPU as those for KV, and then gets a share of every transfer.",
    ("kvcache-ai/Mooncake#429", "NVIDIA/nccl#933", "vllm-project/vllm#44919"),
)
_HIDDEN = Rule(
    "affinity-unknown",
    "Whether the host shows where its GPUs and NICs sit",
    "In a virtual machine the PCI tree is often flat and every NUMA node is -1. Mooncake and NCCL then take all NICs "
    "for equally near, and half of the transfers cross the sockets.",
    ("NVIDIA/nccl-tests#256", "kvcache-ai/Mooncake#813"),
)
_FILE = Rule(
    "custom-topology",
    "The file that MC_CUSTOM_TOPO_JSON names",
    "The file replaces Mooncake's own discovery. One that cannot be read is passed over with a warning, one of a wrong "
    "shape ends the engine (MALFORMED_JSON, -103), and NICs that the host does not have make transfers fail.",
    ("Mooncake 3b5a594: topology.cpp",),
)


def gpu_far_from_nics(view: HostView) -> list[Finding]:
    """Finds GPUs whose nearest NIC for KV is at another socket."""
    levels: dict[str, list[PathClass]] = {}
    for path in view.topology.paths:
        if path.nic in view.topology.ib_devices.get(path.gpu, ()):
            levels.setdefault(path.gpu, []).append(path.level)
    far = [gpu for gpu, found in levels.items() if all(level is PathClass.SYS for level in found)]
    if not far or not view.placed_nics:
        return []
    paths = [path for path in view.topology.paths if path.gpu in far and path.nic in view.topology.ib_devices[path.gpu]]
    return [
        _FAR.finding(
            Severity.WARNING,
            listed(f"GPU {gpu}" for gpu in far),
            [
                Evidence(f"{path.source}: {path.gpu} to {path.nic}", f"{path.level}, {path.reason}")
                for path in paths[:8]
            ],
            f"{listed(far)} reach{'es' if len(far) == 1 else ''} every NIC for KV across the sockets "
            "(kvcache-ai/Mooncake#429).",
            "Put the prefill worker on GPUs that have a NIC beside them: "
            + (listed(gpu for gpu in levels if gpu not in far) or "none here")
            + ".",
        )
    ]


def nic_idle(view: HostView) -> list[Finding]:
    """Finds NICs for KV that no GPU would use first."""
    gpu_rows = [preferred for row, (preferred, _) in view.topology.mooncake_alone.items() if not row.startswith("cpu:")]
    fit = {entry.nic for entry in view.topology.fitness if entry.fit}
    used = {name for preferred in gpu_rows for name in preferred}
    candidates = [nic.name for nic in view.placed_nics if nic.name in fit]
    idle = [name for name in candidates if name not in used]
    if not used or not idle or _CUSTOM in view.environ:
        return []
    return [
        _IDLE.finding(
            Severity.WARNING if len(gpu_rows) >= len(candidates) else Severity.INFO,
            listed(idle),
            [
                Evidence(row, f"prefers {listed(preferred)}")
                for row, (preferred, _) in view.topology.mooncake_alone.items()
                if not row.startswith("cpu:")
            ],
            f"{len(idle)} of {len(candidates)} NICs for KV {'is' if len(idle) == 1 else 'are'} preferred for no GPU, "
            "and carry KV in retries alone (kvcache-ai/Mooncake#813).",
            f"Name NICs for each GPU: {_WRITE}, edited as you like.",
        )
    ]


def nic_unfit_preferred(view: HostView) -> list[Finding]:
    """Finds NICs that are not for KV among those that Mooncake would prefer for a GPU."""
    unfit = {entry.nic: entry.signs for entry in view.topology.fitness if not entry.fit}
    others = {entry.nic for entry in view.topology.fitness if entry.fit}
    rows: dict[str, list[str]] = {}
    for row, (preferred, _) in view.topology.mooncake_alone.items():
        for name in preferred:
            if name in unfit and not row.startswith("cpu:"):
                rows.setdefault(name, []).append(row)
    if not rows or not others or _CUSTOM in view.environ:
        return []
    value = ib_device_value(view.topology, view.host)
    return [
        _DOUBTFUL.finding(
            Severity.WARNING,
            listed(rows),
            [
                Evidence(name, f"preferred for {listed(found)}; {'; '.join(unfit[name])}")
                for name, found in rows.items()
            ],
            f"Mooncake would send KV through {listed(rows)}, which {'is' if len(rows) == 1 else 'are'} not for KV "
            "(kvcache-ai/Mooncake#429).",
            (f"--disaggregation-ib-device '{value}', or: " if value else "") + _WRITE,
            value or None,
        )
    ]


def affinity_unknown(view: HostView) -> list[Finding]:
    """Reports a host of several GPUs and NICs that hides where they sit."""
    paths = view.topology.paths
    several = len(view.host.gpus.devices) > 1 and len(view.placed_nics) > 1
    if (
        not several
        or not paths
        or any(path.level is not PathClass.UNKNOWN for path in paths)
        or _CUSTOM in view.environ
    ):
        return []
    return [
        _HIDDEN.finding(
            Severity.INFO,
            "affinity",
            [Evidence(f"{paths[0].source}: {paths[0].gpu} to {paths[0].nic}", paths[0].reason)],
            "How near each GPU is to each NIC is not known, and Mooncake takes all NICs for equally near "
            "(NVIDIA/nccl-tests#256).",
            "pdpanel topology --mooncake --topology /var/run/nvidia-topologyd/virtualTopology.xml (or the provider's "
            "NCCL file) > topology.json; export MC_CUSTOM_TOPO_JSON=$PWD/topology.json",
        )
    ]


def custom_topology(view: HostView) -> list[Finding]:
    """Judges the file that replaces Mooncake's discovery."""
    path = view.environ.get(_CUSTOM)
    file = view.state.custom_topology
    if not path:
        return []
    if file.value is None:
        # A capture does not hold the file, which proves nothing.
        if not view.host.live:
            return []
        return [
            _file_finding(
                view, path, Severity.WARNING, file.reason, "Mooncake passes over this file and looks for NICs itself."
            )
        ]
    problem, names = _topology_of(file.value)
    if problem:
        return [_file_finding(view, path, Severity.ERROR, problem, "Mooncake ends with MALFORMED_JSON (-103).")]
    have = {nic.name for nic in view.host.rdma.otherwise(())}
    unknown = sorted(names - have)
    if not unknown or not view.host.rdma.known:
        return []
    severity = Severity.ERROR if have and not names & have else Severity.WARNING
    return [
        _file_finding(
            view, path, severity, f"names {listed(unknown)}", "The file names NICs that this host does not have."
        )
    ]


def _file_finding(view: HostView, path: str, severity: Severity, saw: str, reason: str) -> Finding:
    evidence = [variable(_CUSTOM, path), seen(view.state.custom_topology, saw)]
    return _FILE.finding(severity, _CUSTOM, evidence, reason, f"{_WRITE}; or unset {_CUSTOM}")


def _topology_of(text: str) -> tuple[str, set[str]]:
    """Returns what is wrong with the text of a topology, and the NICs that it names."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"is no JSON: {error}", set()
    if not isinstance(rows, dict):
        return "is no object of memories", set()
    names: set[str] = set()
    for row, lists in rows.items():
        if not (isinstance(lists, list) and len(lists) == 2 and all(isinstance(part, list) for part in lists)):
            return f"{row!r} is not two lists of NICs", set()
        for name in (*lists[0], *lists[1]):
            if not isinstance(name, str):
                return f"{row!r} names {name!r}, which is no NIC", set()
            names.add(name)
    return "", names


CHECKS: tuple[Check[HostView], ...] = (
    Check(_FAR, gpu_far_from_nics),
    Check(_IDLE, nic_idle),
    Check(_DOUBTFUL, nic_unfit_preferred),
    Check(_HIDDEN, affinity_unknown),
    Check(_FILE, custom_topology),
)
