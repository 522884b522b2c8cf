"""A person's own presets: deployment files in their config directory.

Owns names and files there; knows nothing of the bundled presets. A name never leads out of the folder, and a file is
there whole or not at all. Called by the Plan tab and by whoever lists presets.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..engine.errors import ConfigError
from .deployment import Deployment, dump_deployment, load_deployment

__all__ = ["OwnPreset", "load_own_preset", "own_presets", "presets_folder", "save_own_preset"]

_ENDING = ".yaml"
_MOST = 1000


@dataclass(frozen=True, slots=True)
class OwnPreset:
    """One preset of the person.

    Attributes:
        deployment: None when the file cannot be used.
        problem: why not, in one sentence; empty otherwise.
    """

    name: str
    deployment: Deployment | None
    problem: str = ""


def presets_folder(config_dir: Path) -> Path:
    """Returns where the presets are; it need not exist yet."""
    return config_dir / "presets"


def own_presets(config_dir: Path) -> tuple[OwnPreset, ...]:
    """Returns the presets by name, also those whose file cannot be used.

    Raises:
        ConfigError: the folder is there and cannot be read.
    """
    folder = presets_folder(config_dir)
    try:
        names = sorted(entry.name.removesuffix(_ENDING) for entry in os.scandir(folder) if entry.name.endswith(_ENDING))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError("presets", str(folder), error.strerror or "cannot be read", "make it readable") from None
    return tuple(_read(config_dir, name) for name in names[:_MOST] if _is_name(name))


def load_own_preset(config_dir: Path, name: str) -> Deployment:
    """Returns the deployment of one preset.

    Raises:
        ConfigError: there is no such preset, or its file cannot be used.
    """
    path = _path(config_dir, name)
    if not path.is_file():
        raise ConfigError("preset", name, "is not a preset of yours", "choose one of the list")
    return load_deployment(path)


def save_own_preset(config_dir: Path, name: str, deployment: Deployment, *, replace: bool = False) -> Path:
    """Saves `deployment` as the preset `name` and returns its file, which `pdpanel up` takes as well.

    Args:
        config_dir: the person's config directory; made if it is missing.
        name: letters, digits, dot, dash and underscore; it becomes the file's name.
        deployment: what is saved.
        replace: True overwrites a preset of this name.

    Raises:
        ConfigError: the name cannot be used or is taken, or the file cannot be written.
    """
    path = _path(config_dir, name)
    if path.exists() and not replace:
        raise ConfigError("preset", name, "is there already", "choose another name, or replace it")
    # Others may not read it: a deployment can hold secrets in its variables.
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(dump_deployment(deployment))
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
    except OSError as error:
        raise ConfigError("preset", str(path), error.strerror or "cannot be written", "make it writable") from None
    return path


def _path(config_dir: Path, name: str) -> Path:
    if not _is_name(name):
        remedy = "use at most 64 letters, digits, dots, dashes and underscores, a letter or digit first"
        raise ConfigError("preset", name, "cannot be a preset's name", remedy)
    return presets_folder(config_dir) / f"{name}{_ENDING}"


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) is not None


def _read(config_dir: Path, name: str) -> OwnPreset:
    try:
        return OwnPreset(name, load_own_preset(config_dir, name))
    except ConfigError as error:
        return OwnPreset(name, None, str(error))
