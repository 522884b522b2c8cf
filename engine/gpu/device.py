"""One GPU as torch shows it: its memory, what it can do, and the calls that concern it as a whole.

`opening` works with the Protocol, so that its decisions are the same for a GPU that is made up.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import torch

from .graphs import CudaRecorder, Recorder
from .memory import GpuMemory

__all__ = ["Gpu", "TorchGpu"]


class Gpu(Protocol):
    """A GPU that a worker computes on."""

    device: torch.device

    @property
    def has_bfloat16(self) -> bool:
        """Whether it computes in bfloat16 by itself."""
        ...

    def memory(self) -> GpuMemory:
        """Returns what it has and who holds it."""
        ...

    def chosen(self) -> AbstractContextManager[object]:
        """Makes it the calling thread's current one."""
        ...

    def wait(self) -> None:
        """Waits until everything that was launched is done; what failed there is raised here."""
        ...

    def release(self) -> None:
        """Gives memory back that torch keeps for later."""
        ...

    def recorder(self) -> Recorder:
        """Returns what records graphs."""
        ...


class TorchGpu:
    """A GPU of this process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def has_bfloat16(self) -> bool:
        """Whether it computes in bfloat16 by itself: NVIDIA's from Ampere on, AMD's of today."""
        with torch.cuda.device(self.device):
            return torch.cuda.is_bf16_supported(including_emulation=False)

    def memory(self) -> GpuMemory:
        """Returns what it has and who holds it."""
        free, total = torch.cuda.mem_get_info(self.device)
        name = f"GPU {self.device.index} ({torch.cuda.get_device_name(self.device)})"
        return GpuMemory(name, total, free, torch.cuda.memory_allocated(self.device))

    def chosen(self) -> AbstractContextManager[object]:
        """Makes it the calling thread's current one."""
        return torch.cuda.device(self.device)

    def wait(self) -> None:
        """Waits until everything that was launched is done."""
        torch.cuda.synchronize(self.device)

    def release(self) -> None:
        """Gives memory back that torch keeps for later."""
        torch.cuda.empty_cache()

    def recorder(self) -> Recorder:
        """Returns what records graphs."""
        return CudaRecorder(self.device)
