"""Where the API key of an attached run is kept: a file for this user alone, which is in no plan, view or report."""

from __future__ import annotations

from pathlib import Path

from ..rundir import RunDir

__all__ = ["key_file", "read_key"]


def key_file(rundir: RunDir) -> Path:
    """Returns the file that holds the key."""
    return rundir.path / "api_key"


def read_key(rundir: RunDir) -> str:
    """Returns the key, empty when there is none."""
    try:
        return key_file(rundir).read_text(encoding="ascii")
    except (OSError, UnicodeError):
        return ""
