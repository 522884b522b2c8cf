"""The options of the engine that an interpreter has installed: its files are found and read, none of it is imported.

Called by `pdpanel flags`.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

from ...engine.errors import ConfigError
from .declared import declared_options
from .extract import merged
from .sources import PACKAGES, read_sources
from .table import Table

__all__ = ["installed_table"]

_LIMIT_S = 30.0
# A top-level package's place is found without running it.
_FIND = """
import importlib.util, json, sys
found = importlib.util.find_spec(sys.argv[1])
print(json.dumps(list(found.submodule_search_locations or []) if found else []))
"""


def installed_table(engine: str, python: str) -> Table | None:
    """Returns the options of an installed engine; None when the interpreter has none.

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
    sources = replace(sources, version=sources.version or "unknown")
    return merged(engine, [(sources.version, declared_options(sources))])
