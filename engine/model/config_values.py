"""Numbers and token ids out of a transformers config.json, and the one error for what is wrong with it.

`shape` and `expert_shape` read with these; each value that is missing or of another kind is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError

__all__ = ["integer", "integers", "number", "refuse"]

_REMEDY = "use a model with a complete config.json"


def refuse(source: str, problem: str, remedy: str = _REMEDY) -> ConfigError:
    """Returns the error that refuses a model.

    Args:
        source: the model as the user named it.
    """
    return ConfigError("--model-path", source, problem, remedy)


def number(data: Mapping[str, Any], key: str, source: str, *, default: float | None = None) -> float:
    """Returns the number `key`; without a default, one that is missing is refused."""
    value = data.get(key)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(source, f"config.json lacks {key}" if value is None else f"{key} {value!r} is not a number")
    return float(value)


def integer(data: Mapping[str, Any], key: str, source: str, *, default: int | None = None) -> int:
    """Returns the whole number `key`; without a default, one that is missing is refused."""
    value = number(data, key, source, default=default)
    if value != int(value):
        raise refuse(source, f"{key} {value!r} is not a whole number")
    return int(value)


def integers(value: object, key: str, source: str, what: str) -> tuple[int, ...]:
    """Returns the value of `key`, a whole number or a list of them, as a tuple; of None, an empty one.

    Args:
        what: one of them, with its article, for the error.
    """
    items = value if isinstance(value, list) else [] if value is None else [value]
    found = tuple(item for item in items if isinstance(item, int) and not isinstance(item, bool))
    if len(found) != len(items):
        raise refuse(source, f"{key} {value!r} is neither {what} nor a list of them")
    return found
