"""The table of all export formats."""

from __future__ import annotations

from collections.abc import Mapping

from . import sh
from .exported import Format

__all__ = ["FORMATS"]

_ALL: tuple[Format, ...] = (sh.FORMAT,)

FORMATS: Mapping[str, Format] = {each.name: each for each in _ALL}
