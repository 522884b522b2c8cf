"""The byte counters of this host's links at one moment: RDMA ports, interfaces, the loopback.

Which files count, and by what factor, is the business of `nic_probe`. An RDMA port whose only counters are those of its
interface is no RDMA counter here. A driver that does not answer in time makes a gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ...nic_probe.counters import CountedLink
from ...nic_probe.counters_by_device import CountedDevice, counted_devices, counted_links
from ...nic_probe.nics.counter_files import SATURATED, WORD_BYTES, CounterFile
from ...nic_probe.patience import answers_within
from ...nic_probe.sources.files import HostFiles
from .verdict import Counter

__all__ = ["Count", "HostCounters"]

_PATIENCE_S: Final = 2.0
_PORTS: Final = "sys/class/infiniband"


@dataclass(frozen=True, slots=True)
class Count:
    """One link at one moment.

    Attributes:
        name: the port or interface.
        source: the files that were read, for people.
        total: bytes sent and received so far; None where they cannot be read.
        reason: why not.
        fabric: of an RDMA port, such as `RoCE v2`.
    """

    kind: Counter
    name: str
    source: str
    total: tuple[float, float] | None
    reason: str = ""
    fabric: str = ""


class HostCounters:
    """The links of this host; finds them once and reads them as often as wanted.

    Args:
        files: the live host's unless a test names others.
    """

    def __init__(self, files: HostFiles | None = None) -> None:
        self._files = HostFiles() if files is None else files
        devices = counted_devices(self._files)
        found = answers_within(_PATIENCE_S, [lambda one=one: counted_links(self._files, one) for one in devices])
        self._links = [(device, link) for device, links in zip(devices, found, strict=True) for link in links or ()]
        self._silent = [device for device, links in zip(devices, found, strict=True) if links is None]
        self._fabrics = {link.key: self._fabric(link.key) for device, link in self._links if _is_port(device, link)}

    def read(self) -> Mapping[str, Count]:
        """Returns every link's count, by kind and name."""
        links = [
            pair for pair in self._links if pair[1].sources.kind.partition(" ")[0] != "netdev" or not _is_port(*pair)
        ]
        counts = answers_within(_PATIENCE_S, [lambda pair=pair: self._count(*pair) for pair in links])
        answer: dict[str, Count] = {}
        for (device, link), count in zip(links, counts, strict=True):
            kind = _kind(device, link)
            if count is None:
                count = Count(kind, link.key, "", None, "its driver does not answer")
            answer[f"{kind}/{link.key}"] = count
        for device in self._silent:
            for name in device.keys:
                kind = Counter.RDMA if ":" in name else Counter.NETDEV
                answer[f"{kind}/{name}"] = Count(kind, name, "", None, "its driver does not answer")
        return answer

    def _count(self, device: CountedDevice, link: CountedLink) -> Count:
        kind = _kind(device, link)
        sums: list[float] = []
        files = (link.sources.tx, link.sources.rx)
        source = " and ".join(" + ".join(f"/{part.path}" for part in parts) for parts in files)
        if not all(files):
            return Count(kind, link.key, source, None, link.sources.reason or "it counts nothing")
        for parts in files:
            total = self._sum(parts)
            if isinstance(total, str):
                return Count(kind, link.key, source, None, total)
            sums.append(total)
        return Count(kind, link.key, source, (sums[0], sums[1]), fabric=self._fabrics.get(link.key, ""))

    def _sum(self, parts: Sequence[CounterFile]) -> float | str:
        total = 0.0
        for part in parts:
            reading = self._files.integer(part.path)
            if reading.value is None:
                return f"/{part.path} {reading.reason}"
            if part.factor == WORD_BYTES and reading.value == SATURATED:
                return f"/{part.path} stands at the most that 32 bits hold"
            total += reading.value * part.factor
        return total

    def _fabric(self, key: str) -> str:
        device, _, port = key.rpartition(":")
        place = f"{_PORTS}/{device}/ports/{port}"
        layer = self._files.text(f"{place}/link_layer").otherwise("").strip()
        if layer == "InfiniBand":
            return layer
        if layer != "Ethernet":
            return ""
        if self._files.text(f"{_PORTS}/{device}/node_type").otherwise("").strip().endswith("RNIC"):
            return "iWARP"
        kinds = {reading.otherwise("").strip() for reading in self._files.texts(f"{place}/gid_attrs/types").values()}
        return "RoCE v2" if "RoCE v2" in kinds else "RoCE v1" if any(kinds) else "RoCE"


def _is_port(device: CountedDevice, link: CountedLink) -> bool:
    return link.key in {f"{name}:{port}" for name, port in device.ports}


def _kind(device: CountedDevice, link: CountedLink) -> Counter:
    if _is_port(device, link):
        return Counter.RDMA
    return Counter.LOOPBACK if link.key == "lo" else Counter.NETDEV
