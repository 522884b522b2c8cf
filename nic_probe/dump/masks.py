"""What of a kernel file may leave the host: secrets, serial numbers and other people's business are taken out.

Pure: bytes in, bytes out. Called by `gather` for every file of a dump.
"""

from __future__ import annotations

import re
from collections import Counter

__all__ = ["masked"]

_PARAMETERS = "iommu intel_iommu amd_iommu pci hugepages hugepagesz default_hugepagesz isolcpus".split()
_TCP_STATES = "? ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING"
_LISTEN = "0A"
_MAC = re.compile(r"\b((?:[0-9a-f]{2}:){2}[0-9a-f]{2})((?::[0-9a-f]{2}){3,})\b", re.IGNORECASE)
# Capabilities of a PCI function from this place on, and the one that holds the card's serial number.
_EXTENDED, _SERIAL_NUMBER = 0x100, 3
# Vital product data begin with the product's name; NVIDIA marks a port that manages NVSwitches behind it.
_NAME_TAG, _SWITCH_MARK = 0x82, b"SW_MNG"


def masked(place: str, data: bytes, states: Counter[str]) -> bytes:
    """Returns what of the file at `place` may leave the host.

    Args:
        place: relative to the root, with links followed.
        states: counts TCP connections by state, since the dump keeps those that listen alone.
    """
    if place.endswith("/config"):
        return _config(data)
    if place.endswith("/vpd"):
        return _vital_product_data(data)
    if place.startswith((".", "run/")):
        return b""  # That the file exists is all that matters.
    text = _MAC.sub(lambda found: found[1] + re.sub("[0-9a-fA-F]", "0", found[2]), data.decode("utf-8", "replace"))
    lines = text.splitlines(True)
    _, _, name = re.sub(r"^proc/(self|[0-9]+)/", "proc/", place).partition("proc/")
    if name == "cmdline":
        text = " ".join(word for word in text.split() if word.partition("=")[0] in _PARAMETERS)
    elif name == "modules":
        text = re.sub(r"0x[0-9a-f]+", "0x0", text)
    elif name in ("net/tcp", "net/tcp6"):
        text = _listening(lines, states)
    elif name == "mounts":
        text = "".join(line for line in lines if line.split()[1:2] == ["/dev/shm"])
    elif name == "mountinfo":
        text = "".join(re.sub(r"( - \S+).*", r"\1 none rw", line) for line in lines if line.split()[4:5] == ["/"])
    elif name:
        text = re.sub(r"(?im)^([^\n:]*serial[^\n:]*:).*$", r"\1 removed", text)
    elif place.startswith("boot/"):
        text = "".join(line for line in lines if "P2PDMA" in line or "DMABUF" in line)
    return text.encode("utf-8")


def _listening(lines: list[str], states: Counter[str]) -> str:
    names = dict(enumerate(_TCP_STATES.split()))
    kept = lines[:1]
    for line in lines[1:]:
        state = "".join(line.split()[3:4])
        if re.fullmatch("[0-9A-F]{2}", state):
            states[names.get(int(state, 16), "?")] += 1
        if state == _LISTEN:
            kept.append(line)
    return "".join(kept)


def _config(data: bytes) -> bytes:
    config = bytearray(data)
    place = _EXTENDED
    while _EXTENDED <= place <= len(config) - 12:
        header = int.from_bytes(config[place : place + 4], "little")
        if header & 0xFFFF == _SERIAL_NUMBER:
            config[place + 4 : place + 12] = bytes(8)
        following = header >> 20 & 0xFFC
        place = following if following > place else 0
    return bytes(config)


def _vital_product_data(data: bytes) -> bytes:
    """Returns the name and the mark, and zeros for the other fields, which have serial numbers among them."""
    kept = bytearray(len(data))
    if data[:1] == bytes([_NAME_TAG]):
        end = 3 + int.from_bytes(data[1:3], "little")
        kept[:end] = data[:end]
    for found in re.finditer(_SWITCH_MARK, data):
        kept[found.start() : found.end()] = found[0]
    return bytes(kept)
