"""A GPU as a value: what is known of one accelerator, and why the rest is not.

Match GPUs by PCI address or UUID: NVML, the CUDA runtime and a process under CUDA_VISIBLE_DEVICES each count
in their own order. Made by the readers beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ..reading import Reading
from ..topology.pci import PcieLink

__all__ = ["Gpu", "GpuHealth", "GpuProcess", "Gpus", "Vendor"]


def _unknown_link() -> PcieLink:
    unknown = Reading.unreadable("library", "was not asked")
    return PcieLink(unknown, unknown, unknown, unknown)


class Vendor(StrEnum):
    """Who made it."""

    NVIDIA = "NVIDIA"
    AMD = "AMD"
    HUAWEI = "Huawei"
    INTEL = "Intel"


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds memory of a GPU.

    Attributes:
        name: its command's name; unreadable when it belongs to another container.
        memory_bytes: what it holds.
    """

    pid: int
    name: Reading[str]
    memory_bytes: Reading[int]


@dataclass(frozen=True, slots=True)
class GpuHealth:
    """What may keep a GPU from working well.

    Attributes:
        ecc_enabled: error-correcting memory is on.
        ecc_uncorrected: uncorrected errors since the driver was loaded.
        memory_retired_pending: pages or rows wait for a reset to be retired.
        throttle_reasons: why the clocks are held down now, in NVML's words; empty when they are not.
        compute_mode: Default, ExclusiveProcess or Prohibited.
        fabric: the state of the NVSwitch fabric: completed, in progress, not started, not supported.
        mig: True when the GPU is split into instances.
        nvlinks_active: links that are up.
        nvlinks_inactive: links that exist and are down.
        bar1_total_bytes: the window through which NICs reach its memory.
        dma_buf: True when the driver exports its memory as dma-buf.
    """

    ecc_enabled: Reading[bool]
    ecc_uncorrected: Reading[int]
    memory_retired_pending: Reading[bool]
    throttle_reasons: Reading[tuple[str, ...]]
    compute_mode: Reading[str]
    persistence: Reading[bool]
    mig: Reading[bool]
    fabric: Reading[str]
    nvlinks_active: Reading[int]
    nvlinks_inactive: Reading[int]
    bar1_total_bytes: Reading[int]
    dma_buf: Reading[bool]
    temperature_c: Reading[int]
    power_w: Reading[float]
    power_limit_w: Reading[float]
    power_limit_default_w: Reading[float]

    @classmethod
    def unreadable(cls, source: str, reason: str) -> GpuHealth:
        """Returns a health of which nothing is known."""
        return cls(*(Reading.unreadable(source, reason) for _ in cls.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU or other accelerator.

    Attributes:
        pci: PCI address as sysfs writes it, such as 0000:18:00.0; the identity of the GPU everywhere.
        nvml_index: NVML's number of it (for AMD and Ascend the number of their own library).
        cuda_index: the number that the CUDA (HIP, CANN) runtime gives it when no variable hides a device.
        visible_index: its number in a process that inherits this environment; unreadable when it is hidden.
        memory_used_bytes: by everybody, also by processes that this one cannot see.
        architecture: compute capability such as 9.0, or gfx942, or the Ascend chip.
        busy_percent: of the compute units over the last moments.
        processes: those that hold its memory, as far as they can be seen.
        pcie_link: as its library sees it, for hosts whose kernel files do not show it.
    """

    pci: str
    vendor: Vendor
    name: Reading[str]
    uuid: Reading[str]
    nvml_index: Reading[int]
    cuda_index: Reading[int]
    visible_index: Reading[int]
    memory_total_bytes: Reading[int]
    memory_used_bytes: Reading[int]
    architecture: Reading[str]
    numa_node: Reading[int]
    busy_percent: Reading[int]
    processes: Reading[tuple[GpuProcess, ...]]
    health: GpuHealth
    pcie_link: PcieLink = field(default_factory=_unknown_link)


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs and what is known of their drivers.

    Attributes:
        devices: in the order of their PCI addresses.
        driver_version: of NVIDIA's driver, or of the vendor that was found.
        runtime_version: the newest CUDA that the driver speaks, such as 12.8, or the version of ROCm or CANN.
        notes: one sentence for each source that said nothing or something odd.
    """

    devices: tuple[Gpu, ...]
    driver_version: Reading[str]
    runtime_version: Reading[str]
    notes: tuple[str, ...] = ()
