"""Values of the probe's document as cells of text for the Hardware tab: sizes, rates, and why something is missing.

A cell is a text, or {"text", "reason"} for what is not known, or {"live", "direction", "capacity"} for a number
that the page fills in from the host's traffic. Pure; called by `hardware` and `hardware_tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..sizes import sized

__all__ = [
    "NOTHING",
    "Cell",
    "Entry",
    "cell",
    "inner",
    "items",
    "label_of",
    "live",
    "pick",
    "rows_of",
    "words",
]

Cell = str | dict[str, Any]
Entry = Mapping[str, Any]

NOTHING = "\N{EN DASH}"
_ENDINGS: Mapping[str, Callable[[Any], str]] = {
    "_bytes": lambda value: sized(value),
    "_percent": lambda value: f"{value:g} %",
    "_gbps": lambda value: f"{value:g} Gb/s",
    "_mbps": lambda value: f"{value / 1000:g} Gb/s",
    "_gts": lambda value: f"{value:g} GT/s",
    "_c": lambda value: f"{value:g} \N{DEGREE SIGN}C",
    "_w": lambda value: f"{value:g} W",
}
_LABELS = {
    "uuid": "UUID",
    "nvml_index": "NVML index",
    "cuda_index": "CUDA index",
    "visible_index": "Index for a worker",
    "pci": "PCI address",
    "numa_node": "NUMA node",
    "ecc_enabled": "ECC",
    "ecc_uncorrected": "Uncorrected ECC errors",
    "memory_retired_pending": "Memory waits to be retired",
    "nvlinks_active": "NVLinks up",
    "nvlinks_inactive": "NVLinks down",
    "bar1_total_bytes": "BAR1",
    "mig": "MIG",
    "dma_buf": "dma-buf export",
    "power_limit_default_w": "Default power limit",
    "node_guid": "Node GUID",
    "lid": "LID",
    "sm_lid": "Subnet manager's LID",
    "mtu": "MTU",
    "pkeys": "Partition keys",
    "gid_table_length": "GID table's length",
    "mac": "MAC",
}


def items(entry: Entry, key: str) -> list[Any]:
    """Returns the list under `key`, an empty one when there is none."""
    value = entry.get(key)
    return list(value) if isinstance(value, list | tuple) else []


def inner(entry: Entry, key: str) -> dict[str, Any]:
    """Returns the object under `key`, an empty one when there is none."""
    value = entry.get(key)
    return dict(value) if isinstance(value, Mapping) else {}


def words(value: Any, key: str = "") -> str:
    """Returns a value as a person reads it; `key` tells its unit."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        for ending, form in _ENDINGS.items():
            if key.endswith(ending):
                return form(value)
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, list | tuple):
        return ", ".join(words(each) for each in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {words(each, name)}" for name, each in value.items()) or "none"
    return str(value)


def cell(entry: Entry, key: str, form: Callable[[Any], str] | None = None) -> Cell:
    """Returns the value under `key`, or the reason why there is none."""
    value = entry.get(key)
    if value is None:
        return {"text": NOTHING, "reason": str(inner(entry, "unreadable").get(key) or "the probe does not say")}
    return form(value) if form else words(value, key)


def live(key: str, direction: str, capacity: float | None = None) -> Cell:
    """Returns a cell for what a link carries now; `direction` is tx or rx, `capacity` in bytes per second."""
    return {"live": key, "direction": direction, "capacity": capacity}


def pick(entry: Entry, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the values under `keys` as {label, value}, also those that are missing."""
    return [{"label": label_of(key), "value": cell(entry, key)} for key in keys]


def rows_of(entry: Entry, skip: Collection[str] = (), prefix: str = "") -> list[dict[str, Any]]:
    """Returns every other value as {label, value}, those of inner objects too; lists of objects are left out."""
    rows: list[dict[str, Any]] = []
    for key, value in entry.items():
        if key in skip or key == "unreadable":
            continue
        if isinstance(value, Mapping):
            rows += rows_of(value, skip, prefix)
        elif not (isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value)):
            rows.append({"label": prefix + label_of(key), "value": cell(entry, key)})
    return rows


def label_of(key: str) -> str:
    """Returns a key of the document as a label."""
    if key in _LABELS:
        return _LABELS[key]
    for ending in _ENDINGS:
        key = key.removesuffix(ending)
    return key.replace("_", " ").capitalize()
