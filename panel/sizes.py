"""Counts of bytes as people read them. Pure."""

from __future__ import annotations

__all__ = ["sized"]

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def sized(count: float) -> str:
    """Returns `count` bytes in decimal units with four digits at most, such as 85.9 GB."""
    number = float(count)
    for unit in _UNITS[:-1]:
        if abs(number) < 1000:
            return f"{number:.4g} {unit}"
        number /= 1000
    return f"{number:.4g} {_UNITS[-1]}"
