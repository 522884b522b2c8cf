"""Which links of a host are counted, grouped by the device whose driver answers for them.

The list is made of names and links alone, which no driver has to answer for; what a device counts is asked later,
by whoever samples that device, since a driver that hangs must not hide the others. Called by the host's sampler.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .counters import CountedLink
from .nics.counter_files import CounterFile, CounterSources, counter_sources
from .sources.files import HostFiles

__all__ = ["CountedDevice", "counted_devices", "counted_links"]

_RDMA = "sys/class/infiniband"
_NET = "sys/class/net"
# A host of containers has hundreds of interfaces for them, which nobody plots.
_MOST_VIRTUAL = 32


@dataclass(frozen=True, slots=True)
class CountedDevice:
    """A device with the links that its driver counts; the interfaces without hardware are one device too.

    Attributes:
        name: of its first RDMA device or interface; it tells devices apart.
        ports: name and port of each RDMA port, such as ("mlx5_0", 1).
        netdevs: its interfaces.
    """

    name: str
    ports: tuple[tuple[str, int], ...]
    netdevs: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of its links, such as mlx5_0:1 and eth0."""
        return (*(f"{device}:{port}" for device, port in self.ports), *self.netdevs)


def counted_devices(files: HostFiles) -> tuple[CountedDevice, ...]:
    """Returns the devices in natural order, those with RDMA first; asks no driver."""
    ports: dict[str, list[tuple[str, int]]] = {}
    netdevs: dict[str, list[str]] = {}
    for name in files.names(_RDMA).otherwise(()):
        place = files.target(f"{_RDMA}/{name}/device").otherwise(name)
        numbers = files.names(f"{_RDMA}/{name}/ports").otherwise(())
        ports.setdefault(place, []).extend((name, int(number)) for number in numbers if _is_port(number))
    virtual: list[str] = []
    for name in files.names(_NET).otherwise(()):
        place = files.target(f"{_NET}/{name}/device")
        if place.value is not None:
            netdevs.setdefault(place.value, []).append(name)
        elif files.exists(f"{_NET}/{name}/statistics"):
            virtual.append(name)
    if chosen := _worth_it(files, virtual):
        netdevs[""] = list(chosen)
    return tuple(
        CountedDevice(
            name=next(iter([*(name for name, _ in ports.get(place, ())), *netdevs.get(place, ())])),
            ports=tuple(ports.get(place, ())),
            netdevs=tuple(netdevs.get(place, ())),
        )
        for place in dict.fromkeys([*ports, *netdevs])
        if ports.get(place) or netdevs.get(place)
    )


def counted_links(files: HostFiles, device: CountedDevice) -> tuple[CountedLink, ...]:
    """Returns the links with the files that count them; asks the driver, and takes as long as it takes."""
    links = [
        CountedLink(
            key=f"{name}:{port}",
            sources=counter_sources(files, name, port, _netdevs_of(files, device, name, port)),
            rate_path=f"{_RDMA}/{name}/ports/{port}/rate",
        )
        for name, port in device.ports
    ]
    return (*links, *(CountedLink(name, _interface(name)) for name in device.netdevs))


def _netdevs_of(files: HostFiles, device: CountedDevice, name: str, port: int) -> tuple[str, ...]:
    parent = files.text(f"{_RDMA}/{name}/parent")
    if parent.value is not None:
        return (parent.value,)  # Software RDMA names the interface that it runs on.
    if len(device.ports) == 1:
        return device.netdevs
    own = (netdev for netdev in device.netdevs if files.integer(f"{_NET}/{netdev}/dev_port").value == port - 1)
    return tuple(own)


def _interface(name: str) -> CounterSources:
    sent, received = (CounterFile(f"{_NET}/{name}/statistics/{which}_bytes") for which in ("tx", "rx"))
    return CounterSources("netdev", (sent,), (received,))


def _worth_it(files: HostFiles, names: Iterable[str]) -> Sequence[str]:
    """Returns the loopback, bonds, and what routes lead through, as the interface of a container."""
    routes = {line.split()[0] for line in files.text("proc/net/route").otherwise("").splitlines() if line.split()}
    chosen = [name for name in names if name == "lo" or name in routes or files.exists(f"{_NET}/{name}/bonding")]
    return chosen[:_MOST_VIRTUAL]


def _is_port(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 4
