"""Checks of GPUs and their driver: whether they answer, who uses them, in which order they are counted."""

from __future__ import annotations

from ..finding import Evidence, Finding, Severity
from ..gpus.gpu import Gpu
from .check import Check, Rule
from .evidence import in_bytes, listed, seen, variable
from .view import HostView

__all__ = ["CHECKS"]

_GIB = 1 << 30
_ORDER = "CUDA_DEVICE_ORDER"
_VISIBLE = "CUDA_VISIBLE_DEVICES"

_NVML = Rule(
    "nvml-unreachable",
    "Whether NVIDIA's driver answers for the GPUs on the PCI bus",
    "The bus shows GPUs also to a container that was not given them, and to a host whose driver is missing or was "
    "updated without a reboot (Driver/library version mismatch). CUDA programs then see no GPU.",
    ("NVIDIA: NVML API reference", "NVIDIA container toolkit documentation"),
)
_HELD = Rule(
    "gpu-memory-held",
    "Memory of GPUs that others hold",
    "A scheduler or engine process that outlived its parent keeps its GPU memory, and a new worker ends with out of "
    "memory or with too small a KV pool. Processes of other containers hold memory without being listed.",
    ("vllm-project/vllm#55510", "vllm-project/vllm#34643", "sgl-project/sglang#31645", "ai-dynamo/dynamo#1889"),
)
_ORDERED = Rule(
    "gpu-order",
    "Whether CUDA counts the GPUs as NVML does",
    "CUDA puts the fastest GPU first unless CUDA_DEVICE_ORDER=PCI_BUS_ID, NVML and nvidia-smi count by PCI address. "
    "On a host with different GPUs number 0 is then another device in the engine than in the plan and in nvidia-smi.",
    ("gpustack/gpustack#1633", "vllm-project/vllm#6582"),
)
_VISIBILITY = Rule(
    "gpu-visibility",
    "GPUs that CUDA_VISIBLE_DEVICES hides, and entries of it that name none",
    "CUDA reads the list up to the first entry that names no GPU, and forgets the rest without an error. NVML and "
    "nvidia-smi go on showing every GPU.",
    ("CUDA programming guide: environment variables", "vllm-project/vllm#6582"),
)
_MODE = Rule(
    "gpu-compute-mode",
    "Compute mode of each GPU",
    "In exclusive mode a second process on the GPU fails (all CUDA-capable devices are busy or unavailable), such as "
    "the second worker of a small deployment. In prohibited mode every process does.",
    ("NVIDIA: nvidia-smi, compute mode",),
)
_MIG = Rule(
    "gpu-mig",
    "GPUs that are split into instances (MIG)",
    "An instance has a part of the memory and the compute units, is named by a UUID instead of a number, and has no "
    "NVLink and no peer access. Engines take it for a small GPU, if they find it.",
    ("vllm-project/vllm#6582", "NVIDIA: MIG user guide"),
)
_FABRIC = Rule(
    "fabric-manager",
    "The NVSwitch fabric of HGX hosts",
    "On a host with NVSwitches CUDA works only after the fabric manager has set up the switches. Before that every "
    "program ends with error 802, system not yet initialized.",
    ("NVIDIA: fabric manager user guide",),
)


def nvml_unreachable(view: HostView) -> list[Finding]:
    """Finds GPUs on the bus for which no driver answers."""
    silent = [gpu for gpu in view.nvidia_gpus if not gpu.nvml_index.known]
    if not view.host.live or not silent:
        return []
    version = view.host.gpus.driver_version
    reason = silent[0].nvml_index.reason or version.reason
    mismatch = "mismatch" in reason.lower()
    if mismatch:
        remedy = "Reboot, or unload and load the driver: sudo rmmod nvidia_uvm nvidia; sudo modprobe nvidia"
    elif view.in_container:
        remedy = "docker run --gpus all ..., with the NVIDIA container toolkit on the host"
    elif "not installed" in reason:
        remedy = "pip install nvidia-ml-py"
    else:
        remedy = "Install NVIDIA's driver, or load it: sudo modprobe nvidia"
    return [
        _NVML.finding(
            Severity.ERROR if mismatch else Severity.WARNING,
            listed(gpu.pci for gpu in silent),
            [Evidence("NVML", reason), *(Evidence("PCI", f"lists {gpu.pci}") for gpu in silent[:4])],
            "The PCI bus has NVIDIA GPUs, and their driver does not answer, so workers cannot use them.",
            remedy,
        )
    ]


def gpu_memory_held(view: HostView) -> list[Finding]:
    """Lists who holds the memory of each GPU."""
    findings: list[Finding] = []
    for gpu in view.host.gpus.devices:
        used, total = gpu.memory_used_bytes.value, gpu.memory_total_bytes.value
        processes = gpu.processes.otherwise(())
        # Drivers keep some hundred megabytes for themselves.
        if used is None or not total or used < max(_GIB, total // 50):
            continue
        named = [
            Evidence(
                f"process {process.pid}",
                f"{process.name.otherwise('of another container')}, "
                + (f"{in_bytes(process.memory_bytes.value)}" if process.memory_bytes.known else "an unknown part"),
            )
            for process in processes
        ]
        who = "the listed processes" if processes else "processes that cannot be seen from here, or that have ended"
        findings.append(
            _HELD.finding(
                Severity.WARNING,
                f"GPU {gpu.nvml_index} ({gpu.pci})",
                [seen(gpu.memory_used_bytes, f"{in_bytes(used)} of {in_bytes(total)} in use"), *named],
                f"{in_bytes(used)} are held by {who}, and a new worker does not get them (vllm-project/vllm#55510).",
                "Stop them if they are left over: "
                + (
                    "; ".join(f"kill {process.pid}" for process in processes[:4])
                    if processes
                    else "nvidia-smi on the host"
                ),
            )
        )
    return findings


def gpu_order(view: HostView) -> list[Finding]:
    """Finds hosts on which a GPU's number depends on who counts."""
    gpus = view.nvidia_gpus
    models = {gpu.name.value for gpu in gpus if gpu.name.known}
    differing = [
        gpu
        for gpu in gpus
        if gpu.nvml_index.known and gpu.cuda_index.known and gpu.nvml_index.value != gpu.cuda_index.value
    ]
    if view.environ.get(_ORDER) == "PCI_BUS_ID" or len(gpus) < 2 or (len(models) < 2 and not differing):
        return []
    evidence = [variable(_ORDER, view.environ[_ORDER])] if _ORDER in view.environ else []
    evidence += [
        Evidence(gpu.pci, f"{gpu.name}: NVML {gpu.nvml_index}, CUDA {gpu.cuda_index}") for gpu in differing or gpus
    ]
    return [
        _ORDERED.finding(
            Severity.WARNING,
            _ORDER,
            evidence,
            "CUDA may count these GPUs in another order than nvidia-smi, so a worker gets another GPU than its number "
            "says (gpustack/gpustack#1633).",
            f"export {_ORDER}=PCI_BUS_ID, or name GPUs by UUID",
            "PCI_BUS_ID",
        )
    ]


def gpu_visibility(view: HostView) -> list[Finding]:
    """Judges the list of visible GPUs, and says which are hidden."""
    gpus = view.nvidia_gpus
    text = view.environ.get(_VISIBLE)
    if text is None or not gpus or not all(gpu.uuid.known for gpu in gpus):
        return []
    entries = [entry.strip() for entry in text.split(",")] if text.strip() else []
    seen_gpus: list[str] = []
    wrong = ""
    for entry in entries:
        uuid = _named(entry, gpus)
        if uuid is None or uuid in seen_gpus:
            wrong = entry
            break
        seen_gpus.append(uuid)
    deliberate = not entries or wrong == "-1" or wrong.lower() in ("none", "void", "nodevfiles")
    if wrong and not deliberate:
        return [
            _VISIBILITY.finding(
                Severity.WARNING if seen_gpus else Severity.ERROR,
                _VISIBLE,
                [variable(_VISIBLE, text), Evidence("NVML", f"{len(gpus)} GPUs")],
                f"{wrong!r} names no GPU of this host or one twice, and CUDA forgets it with all that follow: "
                f"{len(seen_gpus)} of {len(entries)} remain.",
                f"export {_VISIBLE}={','.join(str(number) for number in range(len(gpus)))}",
                ",".join(str(number) for number in range(len(gpus))),
            )
        ]
    if len(seen_gpus) == len(gpus):
        return []
    return [
        _VISIBILITY.finding(
            Severity.INFO,
            _VISIBLE,
            [variable(_VISIBLE, text)],
            f"Workers that inherit this see {len(seen_gpus)} of {len(gpus)} GPUs, and count them from 0.",
            f"unset {_VISIBLE}, unless it is meant.",
        )
    ]


def gpu_compute_mode(view: HostView) -> list[Finding]:
    """Finds GPUs that take one process or none."""
    return [
        _MODE.finding(
            Severity.ERROR if gpu.health.compute_mode.value == "Prohibited" else Severity.WARNING,
            f"GPU {gpu.nvml_index} ({gpu.pci})",
            [seen(gpu.health.compute_mode)],
            f"The GPU takes {'no process' if gpu.health.compute_mode.value == 'Prohibited' else 'one process alone'}.",
            f"sudo nvidia-smi -i {gpu.nvml_index} -c DEFAULT",
            "Default",
        )
        for gpu in view.nvidia_gpus
        if gpu.health.compute_mode.otherwise("Default") != "Default"
    ]


def gpu_mig(view: HostView) -> list[Finding]:
    """Finds GPUs that are split."""
    return [
        _MIG.finding(
            Severity.WARNING,
            f"GPU {gpu.nvml_index} ({gpu.pci})",
            [seen(gpu.health.mig, "MIG is on")],
            "The GPU is split into instances, which have no peer access and which engines take for small GPUs.",
            f"sudo nvidia-smi -i {gpu.nvml_index} -mig 0, unless it is meant; then name instances by their UUID.",
        )
        for gpu in view.nvidia_gpus
        if gpu.health.mig.value
    ]


def fabric_manager(view: HostView) -> list[Finding]:
    """Finds GPUs whose fabric is not set up."""
    waiting = [gpu for gpu in view.nvidia_gpus if gpu.health.fabric.otherwise("completed") not in _FABRIC_READY]
    if not waiting:
        return []
    stopped = any(gpu.health.fabric.value == "not started" for gpu in waiting)
    return [
        _FABRIC.finding(
            Severity.ERROR if stopped else Severity.WARNING,
            listed(gpu.pci for gpu in waiting),
            [seen(gpu.health.fabric) for gpu in waiting],
            "The NVSwitch fabric is not set up, and CUDA programs end with error 802, system not yet initialized."
            if stopped
            else "The NVSwitch fabric is not ready, and CUDA programs may fail or do without NVLink.",
            "sudo systemctl enable --now nvidia-fabricmanager, of the same version as the driver",
        )
    ]


_FABRIC_READY = ("completed", "not supported")


def _named(entry: str, gpus: tuple[Gpu, ...]) -> str | None:
    """Returns the UUID of the GPU, or of the instance, that an entry names: a number or the start of a UUID."""
    if entry.startswith("MIG-"):
        return entry
    if entry.isascii() and entry.isdecimal() and len(entry) < 5:
        return gpus[int(entry)].uuid.value if int(entry) < len(gpus) else None
    found = [
        gpu.uuid.otherwise("") for gpu in gpus if entry.startswith("GPU-") and gpu.uuid.otherwise("").startswith(entry)
    ]
    return found[0] if len(found) == 1 else None


CHECKS: tuple[Check[HostView], ...] = (
    Check(_NVML, nvml_unreachable),
    Check(_HELD, gpu_memory_held),
    Check(_ORDERED, gpu_order),
    Check(_VISIBILITY, gpu_visibility),
    Check(_MODE, gpu_compute_mode),
    Check(_MIG, gpu_mig),
    Check(_FABRIC, fabric_manager),
)
