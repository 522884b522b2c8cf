"""The PCI switches of a host with the GPUs and NICs below each.

Pure. In a kernel's tree a switch is known by its uplink, the outermost bridge above the devices, which is the
root's port; in NCCL's files it is a node of its own. Switches below switches count with the outermost. Called by
`survey`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..gpus.gpu import Gpu
from ..nics.device import RdmaDevice
from .pci import PciTree

__all__ = ["Switches", "find_switches"]

# Uplink: GPUs by PCI address and NICs by name.
Switches = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]


def find_switches(gpus: Sequence[Gpu], nics: Sequence[RdmaDevice], tree: PciTree) -> Switches:
    """Returns the switches in the order of their uplinks, those with more than one card below.

    A card alone below several bridges is a card with a bridge of its own, as many accelerators are.
    """
    # A port of the root alone is no switch: the device sits in that slot.
    least = 1 if tree.flattened else 2
    gpus_below: dict[str, list[str]] = {}
    nics_below: dict[str, list[str]] = {}
    cards: dict[str, set[str]] = {}
    devices = [(gpu.pci, gpu.pci, gpus_below) for gpu in gpus]
    devices += [(nic.pci.value or "", nic.name, nics_below) for nic in nics]
    for address, name, below in devices:
        place = tree.devices.get(address)
        if place is None or len(place.bridges) < least:
            continue
        uplink = place.bridges[0]
        below.setdefault(uplink, []).append(name)
        cards.setdefault(uplink, set()).add(address.partition(".")[0])
    return {
        uplink: (tuple(gpus_below.get(uplink, ())), tuple(nics_below.get(uplink, ())))
        for uplink in sorted(cards)
        if len(cards[uplink]) > 1
    }
