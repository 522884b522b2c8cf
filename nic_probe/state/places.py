"""Device nodes and file systems: what a process may open, and how much room there is.

From the facts; the size of `/dev/shm` also from the list of mounts. Called by `host_state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..reading import Reading
from ..sources.files import HostFiles
from .facts import Facts, as_bool, as_int, as_mapping, as_text

__all__ = ["DeviceNode", "Space", "probe_devices", "probe_space"]

_SHM = "/dev/shm"
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A file below /dev.

    Attributes:
        kind: character, absent and so on.
    """

    kind: str
    readable: bool
    writable: bool


@dataclass(frozen=True, slots=True)
class Space:
    """Room in a file system; free is None when only its size is known."""

    total_bytes: int
    free_bytes: int | None


def probe_devices(facts: Facts) -> Reading[Mapping[str, DeviceNode]]:
    """Returns the device nodes by path."""
    return facts.table("devices", _device, "a table of device nodes")


def probe_space(files: HostFiles, facts: Facts) -> Reading[Mapping[str, Space]]:
    """Returns the room by path."""
    said = facts.table("space", _space, "a table of file systems")
    if _SHM in said.otherwise({}):
        return said
    size = _shm_size(files)
    return Reading({**said.otherwise({}), _SHM: Space(size, None)}, "/proc/self/mounts") if size else said


def _device(value: object) -> DeviceNode | None:
    entry = as_mapping(value)
    kind = None if entry is None else as_text(entry.get("kind"))
    if entry is None or kind is None:
        return None
    return DeviceNode(kind, as_bool(entry.get("readable")) or False, as_bool(entry.get("writable")) or False)


def _space(value: object) -> Space | None:
    entry = as_mapping(value)
    if entry is None:
        return None
    total, free = as_int(entry.get("total_bytes")), as_int(entry.get("free_bytes"))
    return None if total is None or total < 0 else Space(total, free)


def _shm_size(files: HostFiles) -> int | None:
    mounts = files.text("proc/self/mounts")
    if not mounts.known:
        mounts = files.text("proc/mounts")
    for line in mounts.otherwise("").splitlines():
        words = line.split()
        if len(words) < 4 or words[1] != _SHM:
            continue
        for option in words[3].split(","):
            key, _, value = option.partition("=")
            number, unit = value.rstrip("kmg"), _UNITS.get(value[-1:], 1)
            if key == "size" and number.isdecimal() and len(number) < 20:
                return int(number) * unit
    return None
