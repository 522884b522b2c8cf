"""The descriptions that the project ships, and what `--simulate` names: one of them, an own file, or a dump.

Opens nothing but what it is told to. Called by `prepare` and the command line.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...engine.errors import ConfigError
from .description import Description, read_description

__all__ = ["find_host", "shipped"]

_FOLDER = Path(__file__).parent / "hosts"


def shipped() -> dict[str, Description]:
    """Returns the descriptions that come with the project, by name."""
    found = (read_description(path) for path in sorted(_FOLDER.glob("*.toml")))
    return {description.name: description for description in found}


def find_host(wanted: str) -> Description | Path:
    """Returns the description that `wanted` names, or the path of a dump.

    Args:
        wanted: a name, or the path of a TOML file, a folder that holds sys/, or an archive of one.

    Raises:
        ConfigError: nothing of the name is there.
    """
    known = shipped()
    if wanted in known:
        return known[wanted]
    path = Path(os.path.abspath(os.path.expanduser(wanted)))
    looks_like_path = "/" in wanted or path.suffix or wanted.startswith("~")
    if not wanted or not (looks_like_path or path.exists()) or not path.exists():
        problem = "does not exist" if wanted and looks_like_path else "is no host that can be simulated"
        remedy = f"name one of {', '.join(known)}, a description (.toml) or a dump (`pdpanel probe --dump`)"
        raise ConfigError("--simulate", wanted, problem, remedy)
    if path.suffix == ".toml":
        return read_description(path)
    return path
