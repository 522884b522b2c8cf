"""What the GPU libraries said, from JSON into values whose types and ranges are made sure of.

The JSON comes from the child process or from a dump that anybody may have written, so nothing here trusts its
shape, and a library that lies is noted. Pure. Called by `probe`; `child` describes the JSON.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..reading import Reading
from .address import pci_address
from .gpu import GpuProcess, Vendor

__all__ = ["Answers", "GpuAnswer", "LibraryAnswer", "read_answers"]

_MOST_GPUS = 256
_MOST_PROCESSES = 1024
_MOST_BYTES = 1 << 50
_VENDORS = {"NVML": Vendor.NVIDIA, "nvidia-smi": Vendor.NVIDIA, "AMD SMI": Vendor.AMD, "npu-smi": Vendor.HUAWEI}


@dataclass(frozen=True, slots=True)
class GpuAnswer:
    """What one library says about one GPU.

    Attributes:
        pci: as sysfs writes it.
        readings: by the names of the fields of Gpu and GpuHealth, and `index`, `mig_uuids`, `runtime_uuid`,
            `runtime_index`, `pcie_speed_gts`, `pcie_width`, `pcie_max_speed_gts`, `pcie_max_width`.
    """

    library: str
    vendor: Vendor
    pci: str
    readings: Mapping[str, Reading[Any]]


@dataclass(frozen=True, slots=True)
class LibraryAnswer:
    """What one library says.

    Attributes:
        vendor: whose GPUs it knows; None for one that serves several.
        absent: the library is not installed.
        reason: why it says nothing; empty when it does.
        count: how many GPUs it claims to have.
    """

    name: str
    vendor: Vendor | None
    absent: bool
    reason: str
    driver_version: Reading[str]
    runtime_version: Reading[str]
    count: Reading[int]
    gpus: tuple[GpuAnswer, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """What all libraries say; of two that name the same GPU the first counts.

    Attributes:
        notes: one sentence for whatever is odd.
    """

    libraries: tuple[LibraryAnswer, ...] = ()
    gpus: Mapping[str, GpuAnswer] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def library(self, name: str) -> LibraryAnswer | None:
        """Returns the answer of one library; None when it was not asked."""
        return next((library for library in self.libraries if library.name == name), None)


def read_answers(document: object) -> Answers:
    """Returns the answers in a child's document, or in a dump's, which may have nvidia-smi's rows instead."""
    if not isinstance(document, Mapping):
        return Answers()
    notes = _notes(document)
    asked = document.get("libraries")
    entries = dict(asked) if isinstance(asked, Mapping) else {}
    rows = document.get("nvidia_smi")
    if isinstance(rows, list) and "NVML" not in entries:
        first = rows[0] if rows and isinstance(rows[0], Mapping) else {}
        entries["nvidia-smi"] = {"gpus": rows, "count": len(rows), "driver_version": first.get("driver_version")}
    libraries: list[LibraryAnswer] = []
    gpus: dict[str, GpuAnswer] = {}
    for name, entry in entries.items():
        if isinstance(name, str) and isinstance(entry, Mapping) and (name in _VENDORS or name == "torch"):
            library = _library(name, entry, notes)
            libraries.append(library)
            for gpu in library.gpus:
                gpus.setdefault(gpu.pci, gpu)
    uuids = Counter(uuid for gpu in gpus.values() if (uuid := gpu.readings["uuid"].value) is not None)
    notes += [
        f"{times} GPUs have the UUID {uuid}: do not tell them apart by it."
        for uuid, times in uuids.items()
        if times > 1
    ]
    return Answers(tuple(libraries), gpus, tuple(notes))


def _library(name: str, entry: Mapping[Any, Any], notes: list[str]) -> LibraryAnswer:
    notes += _notes(entry)
    vendor = _VENDORS.get(name)
    reason = _text(entry.get("reason")) or ""
    rows = entry.get("gpus")
    gpus: dict[str, GpuAnswer] = {}
    for row in rows[:_MOST_GPUS] if isinstance(rows, list) else ():
        gpu = _gpu(name, vendor, row, notes) if isinstance(row, Mapping) else None
        if gpu is None:
            continue
        if gpu.pci in gpus:
            notes.append(f"{name} names two GPUs at {gpu.pci}, of which the first counts.")
        gpus.setdefault(gpu.pci, gpu)
    return LibraryAnswer(
        name=name,
        vendor=vendor,
        absent=entry.get("absent") is True,
        reason=reason,
        driver_version=_reading(name, entry, "driver_version", _text, reason),
        runtime_version=_reading(name, entry, "runtime_version", _text, reason),
        count=_reading(name, entry, "count", _whole(0, 1 << 32), reason),
        gpus=tuple(gpus.values()),
    )


def _gpu(library: str, vendor: Vendor | None, row: Mapping[Any, Any], notes: list[str]) -> GpuAnswer | None:
    vendor = vendor or next((known for known in Vendor if known == row.get("vendor")), None)
    pci = _reading(library, row, "pci", lambda value: pci_address(value) if isinstance(value, str) else None)
    index = _reading(library, row, "index", _whole(0, 4096))
    if vendor is None or pci.value is None:
        notes.append(f"{library} does not say where GPU {index} sits: {pci.reason or 'its vendor is not known'}.")
        return None
    readings = {name: _reading(library, row, name, kind) for name, kind in _KINDS.items()}
    total, used = readings["memory_total_bytes"], readings["memory_used_bytes"]
    if total.value == 0:
        readings["memory_total_bytes"] = Reading.unreadable(library, "reads 0, which no GPU has")
        notes.append(f"{library} gives {pci.value} 0 bytes of memory.")
    elif total.value is not None and used.value is not None and used.value > total.value:
        readings["memory_used_bytes"] = Reading.unreadable(library, f"reads {used.value}, more than the GPU has")
        notes.append(f"{library} says that {used.value} of the {total.value} bytes of {pci.value} are used.")
    return GpuAnswer(library, vendor, pci.value, readings | {"index": index})


def _notes(entry: Mapping[Any, Any]) -> list[str]:
    notes = entry.get("notes")
    return [text for note in notes[:32] if (text := _text(note))] if isinstance(notes, list) else []


def _reading(
    library: str, row: Mapping[Any, Any], key: str, kind: Callable[[Any], Any], otherwise: str = ""
) -> Reading[Any]:
    said = row.get(key)
    if isinstance(said, Mapping):
        if "value" not in said:
            return Reading.unreadable(library, _text(said.get("reason")) or "does not say why")
        said = said["value"]
    if said is None:
        return Reading.unreadable(library, otherwise or "was not asked for it")
    value = kind(said)
    if value is None:
        return Reading.unreadable(library, f"reads {_text(str(said)[:60])!r}, which cannot be")
    return Reading(value, library)


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    # A broken library gives whatever lies in memory, control sequences included.
    return "".join(char if char.isprintable() else "?" for char in value[:300]).strip() or None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _whole(least: int, most: int) -> Callable[[object], int | None]:
    def convert(value: object) -> int | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            return None  # NaN and infinity fail the comparison.
        return int(value)

    return convert


def _real(least: float, most: float) -> Callable[[object], float | None]:
    def convert(value: object) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return round(float(value), 3) if least <= value <= most else None

    return convert


def _texts(value: object) -> tuple[str, ...] | None:
    return tuple(text for item in value[:64] if (text := _text(item))) if isinstance(value, list) else None


def _processes(value: object) -> tuple[GpuProcess, ...] | None:
    if not isinstance(value, list):
        return None
    found: list[GpuProcess] = []
    for row in value[:_MOST_PROCESSES]:
        pid = _whole(0, 1 << 31)(row.get("pid")) if isinstance(row, Mapping) else None
        if pid is not None:
            memory = _reading("process", row, "memory_bytes", _whole(0, _MOST_BYTES))
            found.append(GpuProcess(pid, _reading("process", row, "name", _text), memory))
    return tuple(found)


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "name": _text,
    "uuid": _text,
    "architecture": _text,
    "memory_total_bytes": _whole(0, _MOST_BYTES),
    "memory_used_bytes": _whole(0, _MOST_BYTES),
    "busy_percent": _whole(0, 100),
    "processes": _processes,
    "ecc_enabled": _flag,
    "ecc_uncorrected": _whole(0, 1 << 63),
    "memory_retired_pending": _flag,
    "throttle_reasons": _texts,
    "compute_mode": _text,
    "persistence": _flag,
    "mig": _flag,
    "fabric": _text,
    "nvlinks_active": _whole(0, 1024),
    "nvlinks_inactive": _whole(0, 1024),
    "bar1_total_bytes": _whole(0, _MOST_BYTES),
    "temperature_c": _whole(-100, 250),
    "power_w": _real(0, 100_000),
    "power_limit_w": _real(0, 100_000),
    "power_limit_default_w": _real(0, 100_000),
    "mig_uuids": _texts,
    "runtime_uuid": _text,
    "runtime_index": _whole(0, 4096),
    "pcie_speed_gts": _real(1, 1024),
    "pcie_width": _whole(1, 32),
    "pcie_max_speed_gts": _real(1, 1024),
    "pcie_max_width": _whole(1, 32),
}
