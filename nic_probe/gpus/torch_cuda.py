"""Asks torch for the GPUs when nothing else answered: the last resort, in the child process alone.

Its import takes seconds, so the child asks only when torch is installed and a device node says that there is an
accelerator. Serves NVIDIA and AMD, whose builds of torch share one interface.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from .asked import asked, failure

__all__ = ["read_torch"]


def read_torch() -> Iterator[dict[str, Any]]:
    """Yields the head and the GPUs, or one piece with the reason why there is nothing."""
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        os.unsetenv(name)  # Every GPU is wanted, in the order of the PCI bus, and this process asks nothing else.
    os.putenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    try:
        torch: Any = import_module("torch")
        count = torch.cuda.device_count()
    except Exception as error:
        yield {"reason": f"cannot be asked: {failure(error)}"}
        return
    if not count:
        yield {"reason": f"{torch.__version__} lists no GPU"}
        return
    hip = torch.version.hip
    yield {"count": {"value": count}, "runtime_version": asked(lambda: hip or torch.version.cuda)}
    for index in range(count):
        try:
            properties = torch.cuda.get_device_properties(index)
        except Exception as error:
            yield {"note": f"torch does not describe GPU {index}: {failure(error)}."}
            continue
        yield {"gpu": {"vendor": "AMD" if hip else "NVIDIA", **_gpu(properties)}}


def _gpu(properties: Any) -> dict[str, Any]:
    return {
        "pci": asked(
            lambda: f"{properties.pci_domain_id:04x}:{properties.pci_bus_id:02x}:{properties.pci_device_id:02x}.0"
        ),
        "name": asked(lambda: properties.name),
        "uuid": asked(lambda: f"GPU-{str(properties.uuid).removeprefix('GPU-')}"),
        "memory_total_bytes": asked(lambda: int(properties.total_memory)),
        "architecture": asked(
            lambda: properties.gcnArchName.partition(":")[0], lambda: f"{properties.major}.{properties.minor}"
        ),
    }
