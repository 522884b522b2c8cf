"""Puts pdpanel into the desktop's menu, and takes it out again: a `.desktop` file and icons in the XDG data home.

Writes and removes only files of these names. Called by `pdpanel app`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from ...engine.errors import ConfigError
from .desktop_entry import desktop_entry

__all__ = ["install", "own_command", "remove"]

_STATIC = Path(__file__).parents[1] / "web" / "static"
_SIZES = (48, 128, 256)
_CHECK_TIMEOUT_S = 20.0


def _entry(data_home: Path) -> Path:
    return data_home / "applications" / "pdpanel.desktop"


def _icons(data_home: Path) -> dict[Path, Path]:
    theme = data_home / "icons" / "hicolor"
    icons = {theme / "scalable" / "apps" / "pdpanel.svg": _STATIC / "mark.svg"}
    return icons | {theme / f"{size}x{size}" / "apps" / "pdpanel.png": _STATIC / f"icon-{size}.png" for size in _SIZES}


def own_command() -> list[str]:
    """Returns the command of this installation of pdpanel."""
    script = Path(sysconfig.get_path("scripts")) / "pdpanel"
    return [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-m", "pdpanel.panel.cli"]


def install(data_home: Path, command: Sequence[str]) -> tuple[list[Path], str]:
    """Writes the files, and returns them with what `desktop-file-validate` says, empty when it is content or not there.

    Args:
        data_home: such as ~/.local/share.
        command: what opens the window.

    Raises:
        ConfigError: the command cannot be written down, or the folder cannot be written.
    """
    text = desktop_entry(command)
    written: list[Path] = []
    try:
        for target, source in _icons(data_home).items():
            _write(target, source.read_bytes())
            written.append(target)
        _write(_entry(data_home), text.encode())
    except OSError as error:
        remedy = "make it writable, or set XDG_DATA_HOME"
        raise ConfigError("XDG_DATA_HOME", str(data_home), f"cannot be written: {error.strerror}", remedy) from None
    return [_entry(data_home), *written], _complaints(_entry(data_home))


def remove(data_home: Path) -> list[Path]:
    """Removes the files, and returns those that were there.

    Raises:
        ConfigError: one of them cannot be removed.
    """
    removed: list[Path] = []
    for path in (_entry(data_home), *_icons(data_home)):
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError("app", str(path), f"cannot be removed: {error.strerror}", "remove it yourself") from None
        removed.append(path)
    return removed


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    spare = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        spare.write_bytes(data)
        os.replace(spare, path)
    finally:
        spare.unlink(missing_ok=True)


def _complaints(entry: Path) -> str:
    validate = shutil.which("desktop-file-validate")
    if validate is None:
        return ""
    try:
        done = subprocess.run(
            [validate, str(entry)], capture_output=True, text=True, timeout=_CHECK_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).strip() if done.returncode else ""
