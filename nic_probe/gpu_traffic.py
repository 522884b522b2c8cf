"""Traffic of NVIDIA GPUs over NVLink and PCIe, from NVML, in a process of its own: `python -m ...gpu_traffic SECONDS`.

A driver that hangs or crashes takes that process alone. It prints one line of JSON for each beat, which `GpuTraffic`
reads. What a driver does not count is a gap with NVML's own reason. Called by whoever samples the live host.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from .counters import LinkRate
from .gpus.address import pci_address
from .line_child import LineChild
from .reading import Reading

__all__ = ["GpuTraffic", "NvmlTraffic"]

# Fields of nvml.h. Those of NVLink are cumulative KiB since the driver was loaded, those of PCIe bytes.
_NVLINK: Final = (138, 139)
_PCIE: Final = (197, 198)
_KIB: Final = 1024
_NVML: Final = "NVML"
_MOST_LINKS: Final = 18
# nvmlDeviceGetPcieThroughput measures for 20 ms and holds its caller meanwhile, for each GPU and direction.
_THROUGHPUT_S: Final = 1.0
_NO_NVML: Final = "NVML cannot be asked"


class _Meter:
    """Makes rates of a counter that is read again and again."""

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None

    def rate(self, at: float, count: Reading[int]) -> Reading[float]:
        """Returns the rate since the count before; `at` is when this one was read."""
        last = self._last
        self._last = None if count.value is None else (at, count.value)
        if count.value is None:
            return Reading.unreadable(count.source, count.reason)
        if last is None or at <= last[0]:
            return Reading.unreadable(count.source, "was read once only")
        if count.value < last[1]:
            return Reading.unreadable(count.source, "went backwards: it was reset, or its driver was loaded anew")
        return Reading((count.value - last[1]) / (at - last[0]), count.source)


class _Gpu:
    """One GPU.

    Attributes:
        links: numbers of the NVLinks that are up; None when it has none at all.
        summed: True when each link counts for itself; None as long as the counts do not tell.
        counts_pcie: False once the driver has said that it has no such fields.
    """

    def __init__(self, pci: str, handle: Any, links: tuple[int, ...] | None) -> None:
        self.pci = pci
        self.handle = handle
        self.links = links
        self.summed: bool | None = None
        self.counts_pcie = True
        self.measured_at = float("-inf")
        self.measured: tuple[Reading[float], ...] = ()
        self.meters = {field: _Meter() for field in (*_NVLINK, *_PCIE)}


class NvmlTraffic:
    """Asks NVML for the traffic of every GPU.

    Args:
        nvml: the module `pynvml`, initialised.
        clock: seconds that only go forward.
    """

    def __init__(self, nvml: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._nvml = nvml
        self._clock = clock
        self._gpus = list(self._find())

    def links(self) -> dict[str, LinkRate]:
        """Returns what travels by `nvlink PCI` and `pcie PCI`, since the call before where counters tell."""
        answer: dict[str, LinkRate] = {}
        for gpu in self._gpus:
            if gpu.links is not None:
                answer[f"nvlink {gpu.pci}"] = self._nvlink(gpu, gpu.links)
            answer[f"pcie {gpu.pci}"] = self._pcie(gpu)
        return answer

    def _find(self) -> Iterator[_Gpu]:
        nvml = self._nvml
        for index in range(nvml.nvmlDeviceGetCount()):
            with contextlib.suppress(nvml.NVMLError):
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                bus_id = nvml.nvmlDeviceGetPciInfo(handle).busId
                pci = pci_address(bus_id.decode() if isinstance(bus_id, bytes) else bus_id)
                if pci is not None:
                    yield _Gpu(pci, handle, self._links_up(handle))

    def _links_up(self, handle: Any) -> tuple[int, ...] | None:
        states: dict[int, bool] = {}
        for link in range(_MOST_LINKS):
            with contextlib.suppress(self._nvml.NVMLError):
                states[link] = bool(self._nvml.nvmlDeviceGetNvLinkState(handle, link))
        return tuple(link for link, up in states.items() if up) if states else None

    def _nvlink(self, gpu: _Gpu, links: tuple[int, ...]) -> LinkRate:
        if not links:
            down = Reading[float].unreadable(_NVML, "no NVLink is up")
            return LinkRate(down, down, _NVML)
        if gpu.summed is None and len(links) > 1:
            counts = {count.value for count in self._fields(gpu, [(_NVLINK[0], link) for link in links])}
            # Some drivers give the count of the whole GPU for each link: then all of them are the same.
            if None not in counts and counts != {0}:
                gpu.summed = len(counts) > 1
        at = self._clock()
        if gpu.summed:
            tx, rx = (_sum(self._fields(gpu, [(field, link) for link in links])) for field in _NVLINK)
        else:
            tx, rx = self._fields(gpu, _NVLINK)
        sent, received = (
            gpu.meters[field].rate(at, count.convert(lambda kib: kib * _KIB, "a count"))
            for field, count in zip(_NVLINK, (tx, rx), strict=True)
        )
        return LinkRate(sent, received, f"NVML, {'sum of its' if gpu.summed else 'all'} NVLinks")

    def _pcie(self, gpu: _Gpu) -> LinkRate:
        at = self._clock()
        if gpu.counts_pcie:
            counts = self._fields(gpu, _PCIE)
            if any(count.known for count in counts):
                tx, rx = (gpu.meters[field].rate(at, count) for field, count in zip(_PCIE, counts, strict=True))
                return LinkRate(tx, rx, "NVML, counters of PCIe")
            gpu.counts_pcie = False
        if at - gpu.measured_at >= _THROUGHPUT_S:
            gpu.measured = tuple(self._throughput(gpu, direction) for direction in (0, 1))
            gpu.measured_at = at
        tx, rx = gpu.measured
        return LinkRate(tx, rx, "NVML, PCIe over 20 ms")

    def _throughput(self, gpu: _Gpu, direction: int) -> Reading[float]:
        try:
            kilobytes = self._nvml.nvmlDeviceGetPcieThroughput(gpu.handle, direction)
        except self._nvml.NVMLError as error:
            return Reading.unreadable(_NVML, f"says {error}")
        return Reading(kilobytes * 1e3, _NVML)

    def _fields(self, gpu: _Gpu, fields: Any) -> list[Reading[int]]:
        try:
            values = self._nvml.nvmlDeviceGetFieldValues(gpu.handle, list(fields))
        except self._nvml.NVMLError as error:
            return [Reading.unreadable(_NVML, f"says {error}") for _ in fields]
        return [self._field(value) for value in values]

    def _field(self, value: Any) -> Reading[int]:
        if value.nvmlReturn:
            return Reading.unreadable(_NVML, f"says {self._nvml.NVMLError(value.nvmlReturn)}")
        # nvmlValueType_t: 1 unsigned int, 2 unsigned long, 3 unsigned long long.
        name = {1: "uiVal", 2: "ulVal"}.get(value.valueType, "ullVal")
        return Reading(int(getattr(value.value, name)), _NVML)


def _sum(counts: list[Reading[int]]) -> Reading[int]:
    unknown = next((count for count in counts if count.value is None), None)
    return unknown or Reading(sum(count.otherwise(0) for count in counts), _NVML)


class GpuTraffic:
    """The process that asks, seen from outside.

    Args:
        environ: its whole environment, in which LD_LIBRARY_PATH takes effect.
        beat_s: how often it asks.
    """

    def __init__(self, environ: Mapping[str, str], beat_s: float = 0.5) -> None:
        self._child = LineChild(f"{__package__}.gpu_traffic", (str(beat_s),), environ)

    def read(self, within_s: float) -> dict[str, LinkRate] | None:
        """Returns what it said last, waiting if it has said nothing since the call before.

        None when it says nothing in time. Raises EOFError when it has ended: there is no GPU that it can ask.
        """
        line = self._child.newest(within_s)
        return None if line is None else _links_of(line)

    def close(self) -> None:
        """Ends the process; one that hangs in a driver is left behind."""
        self._child.close()


def _links_of(line: bytes) -> dict[str, LinkRate]:
    links: dict[str, LinkRate] = {}
    for key, (source, note, tx, rx) in json.loads(line).items():
        links[key] = LinkRate(Reading(tx[0], _NVML, tx[1]), Reading(rx[0], _NVML, rx[1]), source, note)
    return links


def _line_of(links: Mapping[str, LinkRate]) -> bytes:
    plain = {
        key: (link.source, link.note, (link.tx.value, link.tx.reason), (link.rx.value, link.rx.reason))
        for key, link in links.items()
    }
    return json.dumps(plain).encode() + b"\n"


def _main(beat_s: float) -> None:
    """Prints lines until nobody reads them any more; ends at once where NVML has no GPU."""
    try:
        import pynvml

        pynvml.nvmlInit()
        traffic = NvmlTraffic(pynvml)
        links = traffic.links()
    except Exception:  # A library may raise anything.
        return
    while links:
        began = time.monotonic()
        try:
            os.write(sys.stdout.fileno(), _line_of(links))
        except OSError:
            return
        time.sleep(max(0.0, beat_s - (time.monotonic() - began)))
        links = traffic.links()


if __name__ == "__main__":
    _main(float(sys.argv[1]))
