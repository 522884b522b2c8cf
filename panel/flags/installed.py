"""One engine whose options are known: what an interpreter has installed, read without importing it, or a release.

Called by `pdpanel flags`.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ...engine.errors import ConfigError
from .declared import declared_options
from .extract import merged
from .sources import PACKAGES, read_sources
from .table import Table, load_table
from .version import version_of

__all__ = ["KnownEngine", "installed_engine", "released_engine"]

_LIMIT_S = 30.0
# A top-level package's place is found without running it.
_FIND = """
import importlib.util, json, sys
found = importlib.util.find_spec(sys.argv[1])
print(json.dumps(list(found.submodule_search_locations or []) if found else []))
"""


@dataclass(frozen=True, slots=True)
class KnownEngine:
    """One version of an engine whose options are known.

    Attributes:
        table: with this version, or with many releases.
        version: which of them.
        title: engine and version, for sentences.
        source: where the options were read.
    """

    table: Table
    version: tuple[int, ...]
    title: str
    source: str


def installed_engine(engine: str, python: str) -> KnownEngine | None:
    """Returns the engine that an interpreter has installed; None when it has none.

    Args:
        engine: a key of PACKAGES.
        python: the interpreter, a path or a word that PATH knows.

    Raises:
        ConfigError: the interpreter cannot be run, or its engine's files cannot be read.
    """
    package, _ = PACKAGES[engine]
    command = [python, "-I", "-c", _FIND, package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=True)
        folders = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        problem = f"cannot be asked for {package} ({type(error).__name__})"
        raise ConfigError("--python", python, problem, "give a working Python interpreter") from error
    if not folders:
        return None
    sources = read_sources(Path(folders[0]), engine)
    # An editable install has no version beside it; there is one table, so any number answers for it.
    version = sources.version or "0"
    table = merged(engine, [(version, declared_options(sources))])
    return KnownEngine(table, table.newest, f"{engine} {sources.version}".strip(), folders[0])


def released_engine(engine: str, version: str) -> KnownEngine:
    """Returns a release of an engine out of the table of this package.

    Args:
        engine: one with a table.
        version: empty is the newest that was read; of one that was not read, the one before it answers.
    """
    table = load_table(engine)
    assert table is not None
    numbers = version_of(version)
    title = f"{engine} {version if numbers else table.versions[-1]}"
    read = f"{len(table.versions)} releases from {table.versions[0]} to {table.versions[-1]}"
    unsure = "" if not numbers or table.covers(numbers) else "; this one is none of them, so the nearest answers"
    return KnownEngine(table, table.nearest(numbers), title, read + unsure)
