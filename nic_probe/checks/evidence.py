"""How a check writes down what it saw. Pure; called by the checks beside this file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..finding import Evidence
from ..reading import Reading

__all__ = ["DOCKER_FLAGS", "in_bytes", "in_ranges", "listed", "seen", "setting", "variable"]

DOCKER_FLAGS = (
    "docker run --device /dev/infiniband --cap-add IPC_LOCK --ulimit memlock=-1 --shm-size 32g --network host ..."
)
"""What a container needs for RDMA and shared memory, as one line."""

_LISTED = 8


def seen(reading: Reading[Any], value: str = "") -> Evidence:
    """Returns what a reading said: `value`, or else the value itself, or why there is none."""
    return Evidence(reading.source, value or (str(reading.value) if reading.known else reading.reason))


def setting(reading: Reading[Any]) -> Evidence:
    """Returns a one-line kernel file as evidence, its value in the words of the file."""
    return Evidence(reading.source, " ".join(str(reading.value).split()))


def variable(name: str, value: str) -> Evidence:
    """Returns an environment variable as evidence."""
    return Evidence("environment", f"{name}={value}")


def in_bytes(amount: int | None) -> str:
    """Returns a size for people, such as `8 MiB`; None is unlimited."""
    if amount is None:
        return "unlimited"
    number = float(amount)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.3g} {unit}" if number < 1000 else f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.4g} TiB"


def in_ranges(ranges: Iterable[tuple[int, int]]) -> str:
    """Returns ranges of numbers in the kernel's notation, such as `15000-17000,30000`."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def listed(names: Iterable[str]) -> str:
    """Returns names as one text, the first eight of a long list."""
    known = list(names)
    shown = ", ".join(known[:_LISTED])
    return shown if len(known) <= _LISTED else f"{shown} and {len(known) - _LISTED} more"
