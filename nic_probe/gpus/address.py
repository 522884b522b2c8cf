"""PCI addresses: every library's spelling brought to that of sysfs, and their order.

Pure. Called by the readers beside this file; sysfs writes four digits of domain (more when it needs them) in
lower case, NVML eight digits in upper case, some tools none.
"""

from __future__ import annotations

import re

__all__ = ["pci_address", "pci_order"]

_ADDRESS = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([01]?[0-9a-f])\.([0-7])", re.ASCII)


def pci_address(text: str) -> str | None:
    """Returns the address as sysfs writes it, such as 0000:18:00.0; None when it is no PCI address."""
    match = _ADDRESS.fullmatch(text.strip().lower())
    if match is None:
        return None
    domain, bus, device, function = (int(part or "0", 16) for part in match.groups())
    return f"{domain:04x}:{bus:02x}:{device:02x}.{function:x}"


def pci_order(address: str) -> tuple[int, ...]:
    """Returns a key that sorts addresses as the bus counts them; what is no address sorts last."""
    match = _ADDRESS.fullmatch(address)
    return (1 << 33,) if match is None else tuple(int(part or "0", 16) for part in match.groups())
