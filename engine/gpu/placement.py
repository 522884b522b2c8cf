"""Which device a worker computes on, by `--device` and `--base-gpu-id`; and what is in the way, in words.

A GPU is counted among those that CUDA_VISIBLE_DEVICES (on AMD also HIP_VISIBLE_DEVICES) leaves: the planner names one
there for each worker. Loads no kernel and takes no memory. Called by `loading` before anything else is loaded.
"""

from __future__ import annotations

from typing import Protocol

import torch

from ..config import ServerConfig
from ..errors import ConfigError

__all__ = ["CPU", "Devices", "TorchDevices", "device_of"]

CPU = torch.device("cpu")


class Devices(Protocol):
    """What torch knows of GPUs."""

    @property
    def build(self) -> str:
        """What this torch computes with beside the CPU, such as `CUDA 12.8` or `ROCm 6.4`; empty for nothing."""
        ...

    def count(self) -> int:
        """Returns how many GPUs the process sees."""
        ...


class TorchDevices:
    """The GPUs of this process."""

    @property
    def build(self) -> str:
        """What this torch was built for."""
        if torch.version.hip is not None:
            return f"ROCm {torch.version.hip}"
        return f"CUDA {torch.version.cuda}" if torch.version.cuda is not None else ""

    def count(self) -> int:
        """Returns how many GPUs work; a driver that is missing or too old leaves none."""
        return torch.cuda.device_count() if torch.cuda.is_available() else 0


def device_of(config: ServerConfig, devices: Devices | None = None) -> torch.device:
    """Returns the CPU or the GPU that a worker is to compute on; `auto` takes a GPU where there is one.

    Raises:
        ConfigError: a GPU is asked for that is not there.
    """
    if config.device == "cpu":
        return CPU
    devices = devices or TorchDevices()
    count = devices.count() if devices.build else 0
    if config.device == "auto" and not count and not config.base_gpu_id:
        return CPU
    if not devices.build:
        field, value = ("--device", config.device) if config.device == "cuda" else ("--base-gpu-id", config.base_gpu_id)
        problem = "the installed torch computes on CPUs alone"
        raise ConfigError(field, value, problem, "install torch's build for CUDA or ROCm, or use --device cpu")
    if not count:
        problem = f"torch ({devices.build}) finds no GPU that works"
        remedy = "look whether nvidia-smi or rocm-smi lists one and CUDA_VISIBLE_DEVICES names it, or use --device cpu"
        raise ConfigError("--device", config.device, problem, remedy)
    if config.base_gpu_id >= count:
        few = "GPU 0 alone is visible" if count == 1 else f"the visible GPUs are 0 to {count - 1}"
        remedy = "count from 0 among those that CUDA_VISIBLE_DEVICES names"
        raise ConfigError("--base-gpu-id", config.base_gpu_id, few, remedy)
    return torch.device("cuda", config.base_gpu_id)
