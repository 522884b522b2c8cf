"""Checks of what keeps a GPU from working well: memory errors, clocks held down, links that are down."""

from __future__ import annotations

from collections.abc import Callable

from ..finding import Evidence, Finding, Severity
from ..gpus.gpu import Gpu
from .check import Check, Rule
from .evidence import listed, seen
from .view import HostView

__all__ = ["CHECKS"]

# Words of NVML for clocks that are held down because something is wrong.
_ALARMING = ("thermal", "brake", "hwslowdown", "hw slowdown", "hw_slowdown")
_HARMLESS = ("idle", "applicationsclocks", "applications clocks", "displayclock", "display clock", "syncboost")

_PERSISTENCE = Rule(
    "gpu-persistence-off",
    "Persistence mode of each GPU",
    "Without persistence the driver forgets a GPU as soon as its last process ends. The next worker waits seconds for "
    "it to come up, and error counts and settings are lost.",
    ("NVIDIA: driver persistence",),
)
_ECC = Rule(
    "gpu-memory-errors",
    "Memory errors of each GPU (ECC, retired pages, remapped rows)",
    "An uncorrectable error ends the process that hit it, and the damaged row is replaced only after a reset. Until "
    "then the same error comes again. With ECC off such errors silently change weights and KV.",
    ("NVIDIA: GPU memory error management",),
)
_THROTTLE = Rule(
    "gpu-throttled",
    "Clocks that are held down, and why",
    "Heat, a power brake signal from the chassis or a power cap hold the clocks of a GPU down. One slow GPU slows all "
    "of a tensor-parallel worker.",
    ("NVIDIA: NVML, clocks event reasons",),
)
_POWER = Rule(
    "gpu-power-limit",
    "Power limits of equal GPUs",
    "A GPU with a lower power limit runs at lower clocks under load. In a tensor-parallel worker the slowest decides.",
    ("NVIDIA: nvidia-smi, power limit",),
)
_NVLINK = Rule(
    "nvlink-down",
    "NVLinks that are down",
    "A link that is down takes its share of the bandwidth between GPUs away, and NCCL or a worker falls back to PCIe. "
    "GPUs without a bridge or switch have links and none is up: that is no fault.",
    ("NVIDIA: NVML, NVLink state",),
)


def gpu_persistence_off(view: HostView) -> list[Finding]:
    """Reports GPUs that the driver forgets."""
    off = [gpu for gpu in view.nvidia_gpus if gpu.health.persistence.value is False]
    if not off:
        return []
    return [
        _PERSISTENCE.finding(
            Severity.INFO,
            listed(gpu.pci for gpu in off),
            [seen(off[0].health.persistence, "persistence is off")],
            "The first worker after a pause waits some seconds for each GPU.",
            "sudo nvidia-smi -pm 1, or start nvidia-persistenced",
            "on",
        )
    ]


def gpu_memory_errors(view: HostView) -> list[Finding]:
    """Judges memory errors, and reports error correction that is off."""
    findings: list[Finding] = []
    for gpu in view.host.gpus.devices:
        health = gpu.health
        evidence: list[Evidence] = []
        if health.ecc_uncorrected.value:
            evidence.append(seen(health.ecc_uncorrected, f"{health.ecc_uncorrected} uncorrected errors"))
        if health.memory_retired_pending.value:
            evidence.append(seen(health.memory_retired_pending, "pages or rows wait for a reset to be replaced"))
        if evidence:
            findings.append(
                _ECC.finding(
                    Severity.WARNING,
                    _named(gpu),
                    evidence,
                    "The memory of this GPU has failed, and a worker on it may end at any time.",
                    f"Stop what uses it, then sudo nvidia-smi --gpu-reset -i {gpu.nvml_index}; replace it when the "
                    "errors come again.",
                )
            )
        elif health.ecc_enabled.value is False:
            findings.append(
                _ECC.finding(
                    Severity.INFO,
                    _named(gpu),
                    [seen(health.ecc_enabled, "ECC is off")],
                    "Errors in the memory of this GPU change weights and KV without notice.",
                    f"sudo nvidia-smi -i {gpu.nvml_index} -e 1, then reboot",
                    "on",
                )
            )
    return findings


def gpu_throttled(view: HostView) -> list[Finding]:
    """Judges why clocks are held down."""
    findings: list[Finding] = []
    for gpu in view.host.gpus.devices:
        reasons = [
            reason
            for reason in gpu.health.throttle_reasons.otherwise(())
            if not any(word in reason.lower() for word in _HARMLESS)
        ]
        if not reasons:
            continue
        alarming = any(word in reason.lower() for reason in reasons for word in _ALARMING)
        evidence = [seen(gpu.health.throttle_reasons, listed(reasons))]
        if gpu.health.temperature_c.known:
            evidence.append(seen(gpu.health.temperature_c, f"{gpu.health.temperature_c} C"))
        findings.append(
            _THROTTLE.finding(
                Severity.WARNING if alarming else Severity.INFO,
                _named(gpu),
                evidence,
                f"The clocks of this GPU are held down: {listed(reasons)}.",
                "Look at fans, air flow and power supplies." if alarming else "No fault: the power limit is reached.",
            )
        )
    return findings


def gpu_power_limit(view: HostView) -> list[Finding]:
    """Reports limits below the default, and limits that differ among equal GPUs."""
    models: dict[str, dict[float, list[Gpu]]] = {}
    lowered: list[Gpu] = []
    for gpu in view.host.gpus.devices:
        limit, default = gpu.health.power_limit_w.value, gpu.health.power_limit_default_w.value
        if limit is None:
            continue
        models.setdefault(gpu.name.otherwise("GPU"), {}).setdefault(round(limit), []).append(gpu)
        if default is not None and limit < default - 1:
            lowered.append(gpu)
    differing = [gpu for limits in models.values() if len(limits) > 1 for gpus in limits.values() for gpu in gpus]
    concerned = differing or lowered
    if not concerned:
        return []
    return [
        _POWER.finding(
            Severity.WARNING if differing else Severity.INFO,
            listed(gpu.pci for gpu in concerned),
            [
                seen(
                    gpu.health.power_limit_w,
                    f"{gpu.pci}: {gpu.health.power_limit_w} W of {gpu.health.power_limit_default_w} W",
                )
                for gpu in concerned
            ],
            "Equal GPUs have different power limits, and the slowest decides over a worker's speed."
            if differing
            else "The power limit was lowered, and with it the clocks under load.",
            "sudo nvidia-smi -pl DEFAULT_WATTS",
        )
    ]


def nvlink_down(view: HostView) -> list[Finding]:
    """Finds links that are down where others of the same kind are up."""
    down = [gpu for gpu in view.nvidia_gpus if gpu.health.nvlinks_inactive.otherwise(0) > 0]
    linked = {gpu.name.value for gpu in view.nvidia_gpus if gpu.health.nvlinks_active.otherwise(0) > 0}
    broken = [gpu for gpu in down if gpu.name.value in linked]
    # A bridge between two PCIe cards takes a part of the links of all of them alike.
    if not broken or _alike(view, lambda gpu: (gpu.health.nvlinks_active.value, gpu.health.nvlinks_inactive.value)):
        return []
    return [
        _NVLINK.finding(
            Severity.WARNING,
            listed(gpu.pci for gpu in broken),
            [
                seen(
                    gpu.health.nvlinks_inactive,
                    f"{gpu.pci}: {gpu.health.nvlinks_inactive} links down, {gpu.health.nvlinks_active} up",
                )
                for gpu in broken
            ],
            "GPUs of this host have links that others of the same kind use, so traffic between them is slower.",
            "nvidia-smi nvlink -s; reset the GPU, and look at dmesg for Xid 74.",
        )
    ]


def _alike(view: HostView, key: Callable[[Gpu], tuple[int | None, int | None]]) -> bool:
    keys = {key(gpu) for gpu in view.nvidia_gpus}
    return len(keys) == 1 and len(view.nvidia_gpus) > 1


def _named(gpu: Gpu) -> str:
    return f"GPU {gpu.nvml_index} ({gpu.pci})" if gpu.nvml_index.known else f"GPU {gpu.pci}"


CHECKS: tuple[Check[HostView], ...] = (
    Check(_PERSISTENCE, gpu_persistence_off),
    Check(_ECC, gpu_memory_errors),
    Check(_THROTTLE, gpu_throttled),
    Check(_POWER, gpu_power_limit),
    Check(_NVLINK, nvlink_down),
)
