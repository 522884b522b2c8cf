"""A number with its arithmetic: the shape of everything that the sizing says.

Knows nothing of models. Made by every module beside it, shown by `sizing_text`, written by `sizing_json`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..sizes import sized

__all__ = ["Figure", "amount", "shown"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number.

    Attributes:
        value: in `unit`; infinite where nothing limits it.
        unit: `B`, `B/s`, `ms`, `tokens`, `requests`, `requests/s`, `parameters`, `tokens/s` or empty for a share.
        formula: the arithmetic with the numbers put in.
        assumes: what must hold for it, one sentence each.
    """

    value: float
    unit: str
    formula: str
    assumes: tuple[str, ...] = ()


def amount(number: float) -> str:
    """Returns a number as it stands in a formula: whole numbers with thousands separated, else four digits."""
    if math.isinf(number):
        return "unlimited"
    if number == int(number) and abs(number) < 1e13:
        return f"{int(number):,}"
    return f"{number:.4g}"


def shown(value: float, unit: str) -> str:
    """Returns a value with its unit as people read it, such as `131.1 kB` or `8.03 billion parameters`."""
    if math.isinf(value):
        return "unlimited"
    if unit in {"B", "B/s"}:
        return sized(value) + unit[1:]
    if unit == "parameters":
        return f"{value / 1e9:.4g} billion parameters" if value >= 1e9 else f"{value / 1e6:.4g} million parameters"
    if unit == "":
        return f"{value:.1%}"
    return f"{amount(value) if value == int(value) else f'{value:,.4g}'} {unit}"
