"""The devices of this host whose traffic is sampled: the counters of NICs and interfaces, and the GPUs.

What a link counts is the business of `nic_probe`; here it becomes something that can be asked again and again.
Called by `host_series`, which gives each source a thread of its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from ...nic_probe.counters import CountedLink, CounterReader, CounterSample, LinkRate, rates
from ...nic_probe.counters_by_device import CountedDevice, counted_devices, counted_links
from ...nic_probe.gpu_traffic import GpuTraffic
from ...nic_probe.sources.files import HostFiles
from ..config import inherited_environment

__all__ = ["DeviceCounters", "TrafficSource", "this_host_sources"]

_PERIOD_S: Final = 0.1
_LONGEST_PERIOD_S: Final = 1.0
# Over how long a rate is taken: some firmware updates its counters in batches.
_WINDOW_S: Final = 0.5
_GPU_BEAT_S: Final = 0.5
# How often a device is asked anew what it counts, since a driver may have been loaded anew.
_ASK_AGAIN_S: Final = 60.0


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


class DeviceCounters:
    """The counters of one device.

    Args:
        device: whose.
        files: the live host.
        root: the folder that stands for `/` to the reader.
    """

    counts = True

    def __init__(self, device: CountedDevice, files: HostFiles, root: str = "/") -> None:
        self.name = device.name
        self.period_s = _PERIOD_S
        self._device = device
        self._files = files
        self._root = root
        self._reader: CounterReader | None = None
        self._links: tuple[CountedLink, ...] = ()
        self._ask_at = 0.0
        self._samples: deque[CounterSample] = deque()

    def keys(self) -> Sequence[str]:
        """Returns the names of its ports and interfaces."""
        return self._device.keys

    def read(self) -> Mapping[str, LinkRate] | None:
        """Returns the rates since half a second ago, or since the first sample."""
        now = time.monotonic()
        if now >= self._ask_at or self._reader is None:
            self._ask()
            self._ask_at = time.monotonic() + _ASK_AGAIN_S
        assert self._reader is not None
        newest = self._reader.sample()
        while len(self._samples) > 1 and newest.at - self._samples[1].at >= _WINDOW_S:
            self._samples.popleft()
        self._samples.append(newest)
        return rates(self._samples[0], newest) if len(self._samples) > 1 else None

    def close(self) -> None:
        """Closes the files."""
        if self._reader is not None:
            self._reader.close()

    def _ask(self) -> None:
        links = counted_links(self._files, self._device)
        if self._reader is not None and links == self._links:
            return
        self.close()
        self._reader = CounterReader(links, self._root)
        self._links = links
        self._samples.clear()
        # Vendor counters are not asked for again before that time.
        cached_s = max((link.sources.cached_ms.otherwise(0) / 1e3 for link in links), default=0.0)
        self.period_s = max(_PERIOD_S, min(cached_s, _LONGEST_PERIOD_S))


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


def this_host_sources(files: HostFiles | None = None) -> Sequence[TrafficSource]:
    """Returns the devices that this host has now; asks no driver.

    Args:
        files: the live host's unless a test names others.
    """
    files = HostFiles() if files is None else files
    counters = [DeviceCounters(device, files) for device in counted_devices(files)]
    nvidia = any(files.exists(path) for path in ("proc/driver/nvidia/version", "dev/nvidiactl", "dev/dxg"))
    return [*counters, *([_GpuLinks(inherited_environment())] if nvidia else [])]
