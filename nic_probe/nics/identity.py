"""What an RDMA device is and what it belongs to: its driver, its physical function, its bond, its purpose.

Devices are told apart by what they are connected to and never by their names, since udev renames them. Called by
`sysfs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ..netdev import Netdev
from ..reading import Reading
from ..sources.files import HostFiles

__all__ = [
    "bond_of",
    "driver_of",
    "management_by_vpd",
    "management_without_vpd",
    "physical_function_of",
    "software_interface",
]

# In the kernel the software devices differ by what they speak: rxe is a RoCE adapter, siw an iWARP one.
_SOFTWARE_DRIVERS: Final = {"CA": "rdma_rxe", "RNIC": "siw"}
_NVSWITCH_MARK: Final = b"SW_MNG"


def software_interface(files: HostFiles, place: str) -> Reading[str]:
    """Returns the interface that a device without hardware (rxe, siw) runs on."""
    return files.text(f"{place}/parent")


def driver_of(files: HostFiles, place: str, function: str | None, node_type: Reading[str]) -> Reading[str]:
    """Returns the kernel driver of the device at `place`, a folder of /sys/class/infiniband.

    That of an auxiliary device is named `module.driver`, such as irdma.gen_2: the module is returned. Software
    devices have no driver link, but only one driver of each node type is in the kernel.

    Args:
        function: the path of the PCI function that the device is on; None when it is not known.
    """
    bound = files.link_name(f"{place}/device/driver")
    if bound.value is None and function is not None:
        bound = files.link_name(f"{function}/driver")
    if bound.value is not None:
        return Reading(bound.value.partition(".")[0], bound.source)
    interface = software_interface(files, place)
    if interface.value is None or files.exists(f"{place}/device"):
        return bound
    driver = _SOFTWARE_DRIVERS.get(node_type.otherwise(""))
    if driver is None:
        return Reading.unreadable(interface.source, f"is a software device on {interface.value} of unknown kind")
    return Reading(driver, f"{interface.source} and {node_type.source}")


def physical_function_of(files: HostFiles, function: str | None, devices: Mapping[str, str]) -> Reading[str]:
    """Returns the RDMA device that the virtual function at `function` belongs to, or else its PCI address.

    Args:
        function: the path of the PCI function; None when it is not known.
        devices: the name of the RDMA device on each PCI address.
    """
    if function is None:
        return Reading.unreadable("sysfs", "is not on a PCI device that is known")
    owner = files.link_name(f"{function}/physfn")
    if owner.value is None:
        return Reading.unreadable(owner.source, "is no virtual function")
    return Reading(devices.get(owner.value, owner.value), owner.source)


def bond_of(
    files: HostFiles, own: Iterable[str], of_gids: Iterable[str], netdevs: Mapping[str, Netdev]
) -> Reading[str]:
    """Returns the bond that carries the device.

    Args:
        own: the interfaces on the same hardware.
        of_gids: the interfaces that its GIDs name; with a bond they name the bond.
        netdevs: every interface by name.
    """
    named = tuple(dict.fromkeys(of_gids))
    for name in named:
        if name in netdevs and netdevs[name].is_bond:
            return Reading(name, "the GIDs' interface")
    for member in own:
        master = netdevs[member].master if member in netdevs else None
        if master is None or master.value is None:
            continue
        # The marks of a bond's member and of a bridge's; in a capture both may lack the master itself.
        is_bond = master.value in netdevs and netdevs[master.value].is_bond
        if (
            is_bond
            or files.exists(f"sys/class/net/{member}/bonding_slave")
            or (master.value in named and not files.exists(f"sys/class/net/{member}/brport"))
        ):
            return Reading(master.value, master.source)
    return Reading.unreadable("/sys/class/net", "names no bond of its interfaces")


def management_without_vpd(node_type: Reading[str], link_layers: Iterable[str | None]) -> Reading[bool] | None:
    """Returns whether a device manages a switch, where that shows without its vital product data; else None.

    A switch's own device has a node type of its own. The functions through which a host manages its NVSwitches
    speak InfiniBand.

    Args:
        link_layers: of its ports.
    """
    if node_type.otherwise("").casefold() == "switch":
        return Reading(True, node_type.source)
    layers = tuple(link_layers)
    if layers and all(layer in ("Ethernet", "Unknown") for layer in layers):
        return Reading(False, "the link layer of its ports")
    return None


def management_by_vpd(vpd: Reading[bytes]) -> Reading[bool]:
    """Returns whether a device manages NVSwitches, by the mark that NVIDIA sets in its vital product data.

    Args:
        vpd: unreadable for everybody but root.
    """
    return vpd.convert(lambda data: _NVSWITCH_MARK in data, "vital product data")
