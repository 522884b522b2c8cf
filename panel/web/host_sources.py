"""The devices of this host whose traffic is sampled: the counters of NICs and interfaces, and the GPUs.

What a link counts is the business of `nic_probe`; here it becomes something that can be asked again and again.
Called by `host_series`, which gives each source a thread of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from ...nic_probe.counters import LinkRate
from ...nic_probe.counters_by_device import counted_devices
from ...nic_probe.device_counters import DeviceCounters
from ...nic_probe.gpu_traffic import GpuTraffic
from ...nic_probe.sources.files import HostFiles
from ..config import inherited_environment

__all__ = ["TrafficSource", "this_host_sources"]

_GPU_BEAT_S: Final = 0.5


class TrafficSource(Protocol):
    """One device; all but `keys` is called from one thread, which `read` may hold for ever.

    Attributes:
        name: tells it from other sources.
        period_s: how long to wait from the begin of one read to the next.
        counts: True when its reads are samples of counters, whose number per second is shown.
    """

    name: str
    period_s: float
    counts: bool

    def keys(self) -> Sequence[str]:
        """Returns the names of the links that are known before it has answered."""
        ...

    def read(self) -> Mapping[str, LinkRate] | None:
        """Returns what travels now; None when it is too early to tell. Raises EOFError when there will be no more."""
        ...

    def close(self) -> None:
        """Lets go of the device."""
        ...


class _GpuLinks:
    """NVLink and PCIe of all GPUs, from the process that asks NVML."""

    name = "gpus"
    counts = False
    period_s = 0.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._traffic: GpuTraffic | None = None

    def keys(self) -> Sequence[str]:
        return ()

    def read(self) -> Mapping[str, LinkRate] | None:
        if self._traffic is None:
            self._traffic = GpuTraffic(self._environ, _GPU_BEAT_S)
        return self._traffic.read(within_s=_GPU_BEAT_S)

    def close(self) -> None:
        if self._traffic is not None:
            self._traffic.close()


def this_host_sources(files: HostFiles | None = None, root: str = "") -> Sequence[TrafficSource]:
    """Returns the devices that this host has now; asks no driver.

    Args:
        files: the live host's unless a test names others.
        root: the folder that stands for `/` on a simulated host, whose GPUs no library knows.
    """
    files = HostFiles() if files is None else files
    counters = [DeviceCounters(device, files, root or "/") for device in counted_devices(files)]
    if root:
        return counters
    nvidia = any(files.exists(path) for path in ("proc/driver/nvidia/version", "dev/nvidiactl", "dev/dxg"))
    return [*counters, *([_GpuLinks(inherited_environment())] if nvidia else [])]
