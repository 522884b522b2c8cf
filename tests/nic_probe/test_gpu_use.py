from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pdpanel.nic_probe.gpu_use import nvml_use


class NVMLError(Exception):
    pass


class Nvml:
    """NVML with one GPU that tells all and one that tells its uuid alone."""

    NVMLError = NVMLError

    def nvmlDeviceGetCount(self) -> int:
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index == 2:
            raise NVMLError
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetPciInfo(self, handle: int) -> Any:
        return SimpleNamespace(busId=b"00000000:18:00.0")

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        if handle:
            raise NVMLError
        return SimpleNamespace(gpu=37)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        if handle:
            raise NVMLError
        return SimpleNamespace(used=5 << 30, total=80 << 30)


def test_what_nvml_tells_and_what_it_does_not() -> None:
    first, second = nvml_use(Nvml())
    assert first.names == ("0", "GPU-0", "0000:18:00.0")
    assert (first.busy_percent, first.memory_bytes, first.memory_total_bytes) == (37.0, 5 << 30, 80 << 30)
    assert (second.busy_percent, second.memory_bytes) == (None, None)
