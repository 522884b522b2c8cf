"""Sizing values as plain JSON, the interface of `pdpanel plan --suggest --json`. Pure.

A number without limit is null: JSON has no infinity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import isfinite
from typing import Any

from .figure import Figure
from .split import Split, Suggestion

__all__ = ["to_json"]


def to_json(value: object) -> Any:
    """Returns a value of the sizing as JSON; a split has its `name` and `gpus` beside its fields."""
    if isinstance(value, Suggestion):
        return {"version": 1, **_fields(value)}
    if isinstance(value, Split):
        return {"name": value.name, "gpus": value.gpus, **_fields(value)}
    if isinstance(value, Figure):
        return {**_fields(value), "assumes": list(value.assumes)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if is_dataclass(value):
        return _fields(value)
    return value


def _fields(value: Any) -> dict[str, Any]:
    return {item.name: to_json(getattr(value, item.name)) for item in fields(value)}
