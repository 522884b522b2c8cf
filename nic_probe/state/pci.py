"""What the PCI functions on the way to GPUs and NICs report beside their links: errors, ACS, IOMMU.

Reads configuration space for root alone, since the kernel shows nobody else more than 64 bytes of it. Called by
`host_state`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..reading import Reading
from ..sources.files import HostFiles

__all__ = ["ROOT_ALONE", "PciState", "acs_control", "probe_pci_state"]

_FOLDER = "sys/bus/pci/devices"
# PCI Express, 7.7.11: Access Control Services.
_ACS = 0x000D
_ACS_CONTROL = 6
_EXTENDED = 0x100
_HEADER_BYTES = 64
_CONFIG_BYTES = 4096
_HEADER_TYPE = 0x0E
# Of a device with one function, and of one with several.
_BRIDGES = (b"\x01", b"\x81")
_COUNTERS = ("aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal")

ROOT_ALONE = "shows its first bytes alone to anybody but root"
"""Why ACS is unreadable where root could read it."""


@dataclass(frozen=True, slots=True)
class PciState:
    """One PCI function.

    Attributes:
        correctable, nonfatal, fatal: errors since boot; unreadable without error reporting.
        acs: the ACS control register: bit 0 source validation, 2 and 3 redirection of requests and completions
            to the root; unreadable without the capability or for who is not root.
        iommu: how the IOMMU treats it: identity (passed through), DMA or DMA-FQ (translated).
    """

    correctable: Reading[int]
    nonfatal: Reading[int]
    fatal: Reading[int]
    acs: Reading[int]
    iommu: Reading[str]


def probe_pci_state(files: HostFiles, addresses: Iterable[str]) -> Mapping[str, PciState]:
    """Returns the state of the functions at `addresses`, such as 0000:18:00.0."""
    return {address: _state(files, f"{_FOLDER}/{address}") for address in addresses}


def acs_control(config: bytes) -> int | None:
    """Returns the ACS control register of a configuration space; None when it has none or is cut short."""
    place = _EXTENDED
    seen: set[int] = set()
    while _EXTENDED <= place <= len(config) - 8 and place not in seen:
        seen.add(place)
        header = int.from_bytes(config[place : place + 4], "little")
        if header & 0xFFFF == _ACS:
            return int.from_bytes(config[place + _ACS_CONTROL : place + _ACS_CONTROL + 2], "little")
        place = header >> 20 & 0xFFC
    return None


def _state(files: HostFiles, place: str) -> PciState:
    counters = files.texts(place, only=_COUNTERS)
    correctable, nonfatal, fatal = (
        counters[name].convert(_total, "error counts with their total") for name in _COUNTERS
    )
    return PciState(
        correctable, nonfatal, fatal, _acs(files, f"{place}/config"), files.text(f"{place}/iommu_group/type")
    )


def _total(text: str) -> int | None:
    """The last line is the sum: `TOTAL_ERR_COR 0`."""
    key, _, value = text.splitlines()[-1].partition(" ")
    return int(value) if key.startswith("TOTAL_ERR_") else None


def _acs(files: HostFiles, path: str) -> Reading[int]:
    header = files.bytes_of(path, _HEADER_BYTES)
    if header.value is None:
        return Reading(None, header.source, header.reason)
    if header.value[_HEADER_TYPE : _HEADER_TYPE + 1] not in _BRIDGES:
        return Reading.unreadable(header.source, "is no bridge")
    # Each register is a read of the hardware, so the whole space is left alone where it answers nothing.
    config = files.bytes_of(path, _CONFIG_BYTES)
    if config.value is not None and len(config.value) <= _EXTENDED:
        return Reading.unreadable(config.source, ROOT_ALONE)
    return config.convert(acs_control, "a configuration space with ACS")
