"""What GPUs reach on paper: dense peaks, memory, links. Data with its sources, and the look-up by name.

Dense peaks, without sparsity. Memory is what the driver reports, not the number on the box. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ...engine.errors import ConfigError

__all__ = ["GPUS", "Gpu", "gpu_named"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """A device that computes.

    Attributes:
        name: as it is looked up; its words must all be in the name that the driver reports.
        memory_bytes: as the driver reports it.
        memory_speed: bytes per second on paper.
        peaks: floating-point operations per second on paper, by format; `bf16` is always there.
        link_speed: bytes per second in one direction to the GPUs of its node.
        nic_gbps: the NIC that reference nodes give to each GPU; 0 for none.
        node_gpus: GPUs of a reference node.
        source: where the numbers are from.
    """

    name: str
    memory_bytes: float
    memory_speed: float
    peaks: Mapping[str, float]
    link_speed: float
    nic_gbps: float
    node_gpus: int
    source: str

    def __post_init__(self) -> None:
        for field, value in (
            ("memory_bytes", self.memory_bytes),
            ("memory_speed", self.memory_speed),
            ("peaks", self.peaks.get("bf16", 0)),
            ("link_speed", self.link_speed),
        ):
            if not value > 0:
                raise ConfigError(field, value, "is not positive", "give what the device reaches")

    def peak(self, precision: str) -> tuple[str, float]:
        """Returns the format that products in `precision` run in on this device, and its peak."""
        for name in _FALLBACKS.get(precision, (precision,)):
            if name in self.peaks:
                return name, self.peaks[name]
        return "bf16", self.peaks["bf16"]


# What runs a format that a device lacks: the next wider one, after conversion.
_FALLBACKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"fp4": ("fp4", "fp8", "bf16"), "fp8": ("fp8", "bf16"), "int8": ("int8", "fp8", "bf16"), "fp32": ("fp32", "bf16")}
)


def _gpu(
    name: str,
    mib: int,
    speed_tb: float,
    peaks: Mapping[str, float],
    link_gb: float,
    nic_gbps: float,
    source: str,
    node_gpus: int = 8,
) -> Gpu:
    tera = MappingProxyType({kind: value * 1e12 for kind, value in peaks.items()})
    return Gpu(name, mib * _MIB, speed_tb * 1e12, tera, link_gb * 1e9, nic_gbps, node_gpus, source)


_HOPPER = {"fp32": 67, "bf16": 989, "fp8": 1978, "int8": 1978}
_ALL = (
    _gpu("h100", 81559, 3.35, _HOPPER, 450, 400, "NVIDIA H100 data sheet, SXM5"),
    _gpu(
        "h100 pcie",
        81559,
        2.0,
        {"fp32": 51, "bf16": 756, "fp8": 1513, "int8": 1513},
        64,
        400,
        "NVIDIA H100 data sheet, PCIe",
    ),
    _gpu("h800", 81559, 3.35, _HOPPER, 200, 400, "as H100 SXM5, NVLink 400 GB/s in both directions"),
    _gpu("h200", 143771, 4.8, _HOPPER, 450, 400, "NVIDIA H200 data sheet, SXM"),
    _gpu("h20", 97871, 4.0, {"fp32": 44, "bf16": 148, "fp8": 296, "int8": 296}, 450, 400, "NVIDIA H20 product brief"),
    _gpu(
        "a100", 81920, 2.039, {"fp32": 19.5, "bf16": 312, "int8": 624}, 300, 200, "NVIDIA A100 data sheet, SXM4 80 GB"
    ),
    _gpu(
        "a100 40gb",
        40960,
        1.555,
        {"fp32": 19.5, "bf16": 312, "int8": 624},
        300,
        200,
        "NVIDIA A100 data sheet, SXM4 40 GB",
    ),
    _gpu(
        "l40s",
        46068,
        0.864,
        {"fp32": 91.6, "bf16": 362.05, "fp8": 733, "int8": 733},
        32,
        200,
        "NVIDIA L40S data sheet",
    ),
    _gpu("l4", 23034, 0.3, {"fp32": 30.3, "bf16": 121, "fp8": 242, "int8": 242}, 32, 100, "NVIDIA L4 data sheet"),
    _gpu(
        "b200",
        183359,
        8.0,
        {"fp32": 75, "bf16": 2250, "fp8": 4500, "fp4": 9000, "int8": 4500},
        900,
        400,
        "NVIDIA DGX B200 data sheet, an eighth of the system",
    ),
    _gpu(
        "gb200",
        189471,
        8.0,
        {"fp32": 80, "bf16": 2500, "fp8": 5000, "fp4": 10000, "int8": 5000},
        900,
        400,
        "NVIDIA GB200 NVL72 data sheet, a 72nd of the system",
        node_gpus=72,
    ),
    _gpu(
        "mi300x",
        196592,
        5.3,
        {"fp32": 163.4, "bf16": 1307.4, "fp8": 2614.9, "int8": 2614.9},
        448,
        400,
        "AMD Instinct MI300X data sheet; 7 Infinity Fabric links of 64 GB/s",
    ),
)
GPUS: Mapping[str, Gpu] = MappingProxyType({gpu.name: gpu for gpu in _ALL})


def gpu_named(name: str) -> Gpu:
    """Returns the GPU whose words are all in `name`; the most telling one when several fit.

    Args:
        name: a key of `GPUS`, or what the driver reports, such as `NVIDIA H100 80GB HBM3`.

    Raises:
        ConfigError: it is not in the table.
    """
    words = set(re.findall(r"[a-z0-9]+", name.lower()))
    fitting = [gpu for gpu in GPUS.values() if set(gpu.name.split()) <= words]
    if not fitting:
        known = ", ".join(sorted(GPUS))
        problem = "is not in the table of GPUs"
        raise ConfigError("--gpu", name, problem, f"use one of {known}, or give its peak and its memory speed")
    return max(fitting, key=lambda gpu: len(gpu.name.split()))
