"""The shell programs that exports bring along as they are, kept as files beside this one."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["shell_text"]

_PACKAGE = __name__.rpartition(".")[0]


@cache
def shell_text(*names: str) -> str:
    """Returns the texts of the files `name`.bash, one after the other."""
    folder = files(_PACKAGE)
    return "".join(folder.joinpath(f"{name}.bash").read_text("utf-8") for name in names)
