"""The network interfaces of the host, from `/sys/class/net`.

sysfs has no addresses: those are handed in by whoever can ask the live kernel. Called by `host`; RDMA
devices name their interfaces by the names found here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .reading import Reading
from .sources.files import HostFiles

__all__ = ["Netdev", "numa_node", "pci_address", "probe_netdevs"]


@dataclass(frozen=True, slots=True)
class Netdev:
    """One interface.

    Attributes:
        speed_mbps: megabits per second; many virtual interfaces have none.
        operstate: up, down, unknown (as `lo` has it) and so on, in the kernel's words.
        addresses: IP addresses without prefix lengths or zones.
        pci: the address of its PCI device, such as 0000:82:00.0; virtual interfaces have none.
        numa_node: the node of its PCI device; unreadable when the platform does not say.
        loopback: True for the interface that reaches this host alone.
    """

    name: str
    mac: Reading[str]
    mtu: Reading[int]
    speed_mbps: Reading[int]
    operstate: Reading[str]
    addresses: Reading[tuple[str, ...]]
    driver: Reading[str]
    pci: Reading[str]
    numa_node: Reading[int]
    loopback: bool


def probe_netdevs(files: HostFiles) -> tuple[Netdev, ...]:
    """Returns the interfaces in natural order."""
    addresses: Reading[Mapping[str, tuple[str, ...]]] = Reading.unreadable("facts", "were not asked")
    folder = "sys/class/net"
    names = files.names(folder).otherwise(())
    # bonding_masters and its like are plain files between the interfaces.
    return tuple(_netdev(files, folder, name, addresses) for name in names if not files.is_plain(f"{folder}/{name}"))


def _netdev(files: HostFiles, folder: str, name: str, addresses: Reading[Mapping[str, tuple[str, ...]]]) -> Netdev:
    place = f"{folder}/{name}"
    return Netdev(
        name=name,
        mac=files.text(f"{place}/address"),
        mtu=files.integer(f"{place}/mtu"),
        # -1 is how the kernel says that it does not know.
        speed_mbps=files.integer(f"{place}/speed").convert(lambda speed: speed if speed > 0 else None, "a speed"),
        operstate=files.text(f"{place}/operstate"),
        addresses=addresses.convert(lambda known: known.get(name, ()), "a table of addresses"),
        driver=files.link_name(f"{place}/device/driver"),
        pci=pci_address(files, place),
        numa_node=numa_node(files, place),
        # ARPHRD_LOOPBACK of linux/if_arp.h.
        loopback=files.integer(f"{place}/type").value == 772,
    )


def pci_address(files: HostFiles, place: str) -> Reading[str]:
    """Returns the PCI address of the device behind `place`, a folder of /sys/class."""
    target = files.target(f"{place}/device")

    def last_pci(path: str) -> str | None:
        # The nearest one upwards: an auxiliary or virtio device sits below its PCI function.
        return next((part for part in reversed(path.split("/")) if _is_pci(part)), None)

    return target.convert(last_pci, "below a PCI device")


def numa_node(files: HostFiles, place: str) -> Reading[int]:
    """Returns the NUMA node of the device behind `place`; in the file -1 means that nobody knows."""
    node = files.integer(f"{place}/device/numa_node")
    return node.convert(lambda number: number if number >= 0 else None, "a node")


def _is_pci(part: str) -> bool:
    domain, _, rest = part.partition(":")
    bus, _, rest = rest.partition(":")
    slot, _, function = rest.partition(".")
    sizes = (len(domain) >= 4, len(bus) == 2, len(slot) == 2, len(function) == 1)
    return all(sizes) and all(char in "0123456789abcdef" for char in domain + bus + slot + function)
