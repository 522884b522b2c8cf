"""How busy GPUs are and how much of their memory is used, in a process of its own: `python -m ...gpu_use SECONDS`.

It prints one line of JSON for each beat, which `GpuUses` reads: for each GPU its index, uuid and PCI address, percent
busy, bytes in use and in all. NVML is asked for NVIDIA's, AMD SMI for AMD's. What a driver does not tell is left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .gpus.address import pci_address
from .line_child import LineChild

__all__ = ["GpuUse", "GpuUses", "nvml_use"]

_MOST_GPUS = 256
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One GPU at one moment.

    Attributes:
        names: what it is called: its index, its uuid and its PCI address, as far as they are known.
        busy_percent: share of the last moments in which a kernel ran; None where the driver does not tell.
        memory_bytes: in use; None likewise.
        memory_total_bytes: None likewise.
    """

    names: tuple[str, ...]
    busy_percent: float | None
    memory_bytes: float | None
    memory_total_bytes: float | None


class GpuUses:
    """The process that asks, seen from outside.

    Args:
        environ: its whole environment.
        beat_s: how often it asks.
    """

    def __init__(self, environ: Mapping[str, str], beat_s: float = 0.5) -> None:
        self._child = LineChild(f"{__package__}.gpu_use", (str(beat_s),), environ)

    def read(self, within_s: float) -> list[GpuUse] | None:
        """Returns what it said last; None when it says nothing in time. Raises EOFError when it has ended."""
        line = self._child.newest(within_s)
        return None if line is None else [GpuUse(tuple(names), *values) for names, *values in json.loads(line)]

    def close(self) -> None:
        """Ends the process."""
        self._child.close()


def nvml_use(nvml: Any) -> list[GpuUse]:
    """Returns the GPUs that NVML tells of; `nvml` is the module `pynvml`, initialised."""
    found: list[GpuUse] = []
    for index in range(min(nvml.nvmlDeviceGetCount(), _MOST_GPUS)):
        with contextlib.suppress(nvml.NVMLError):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            names = [str(index)]
            with contextlib.suppress(nvml.NVMLError):
                names.append(_text(nvml.nvmlDeviceGetUUID(handle)))
                names.append(pci_address(_text(nvml.nvmlDeviceGetPciInfo(handle).busId)) or "")
            busy = used = total = None
            with contextlib.suppress(nvml.NVMLError):
                busy = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            with contextlib.suppress(nvml.NVMLError):
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                used, total = float(memory.used), float(memory.total)
            found.append(GpuUse(tuple(name for name in names if name), busy, used, total))
    return found


def _amd_use(amdsmi: Any) -> list[GpuUse]:
    found: list[GpuUse] = []
    for index, handle in enumerate(amdsmi.amdsmi_get_processor_handles()[:_MOST_GPUS]):
        names, busy, used, total = [str(index)], None, None, None
        with contextlib.suppress(Exception):
            names.append(pci_address(amdsmi.amdsmi_get_gpu_device_bdf(handle)) or "")
        with contextlib.suppress(Exception):
            busy = float(amdsmi.amdsmi_get_gpu_activity(handle)["gfx_activity"])
        with contextlib.suppress(Exception):
            memory = amdsmi.amdsmi_get_gpu_vram_usage(handle)
            used, total = float(memory["vram_used"]) * _MIB, float(memory["vram_total"]) * _MIB
        found.append(GpuUse(tuple(name for name in names if name), busy, used, total))
    return found


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _askers() -> Iterator[Callable[[], list[GpuUse]]]:
    """Yields how to ask, for each library that is there; a library may raise anything."""
    with contextlib.suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        if pynvml.nvmlDeviceGetCount():
            yield lambda: nvml_use(pynvml)
    with contextlib.suppress(Exception):
        import amdsmi  # type: ignore[import-not-found]

        amdsmi.amdsmi_init()
        yield lambda: _amd_use(amdsmi)


def _main(beat_s: float) -> None:
    """Prints lines until nobody reads them any more; ends at once where no library has a GPU."""
    askers = list(_askers())
    uses = [use for ask in askers for use in ask()]
    while uses:
        began = time.monotonic()
        plain = [(use.names, use.busy_percent, use.memory_bytes, use.memory_total_bytes) for use in uses]
        try:
            os.write(sys.stdout.fileno(), json.dumps(plain).encode() + b"\n")
        except OSError:
            return
        time.sleep(max(0.0, beat_s - (time.monotonic() - began)))
        uses = [use for ask in askers for use in ask()]


if __name__ == "__main__":
    _main(float(sys.argv[1]))
