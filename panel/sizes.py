"""Counts of bytes as people read them. Pure."""

from __future__ import annotations

__all__ = ["size_text", "sized"]

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def sized(count: float) -> str:
    """Returns `count` bytes in decimal units with four digits at most, such as 85.9 GB."""
    number = float(count)
    for unit in _UNITS[:-1]:
        if abs(number) < 1000:
            return f"{number:.4g} {unit}"
        number /= 1000
    return f"{number:.4g} {_UNITS[-1]}"


def size_text(count: float) -> str:
    """Returns `count` bytes as a short text of an even width, such as 1.5 GB: for columns and sentences."""
    unit, *larger = _UNITS
    while count >= 999.5 and larger:
        count /= 1000
        unit = larger.pop(0)
    return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"
