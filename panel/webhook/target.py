"""Where a webhook goes: a URL that may hold a secret, so that it is never shown but for its host.

Given as `--webhook`, as PDPANEL_WEBHOOK or in the file `webhook` of the config folder; kept in a run's directory for
its runner. Knows no network.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ...engine.errors import ConfigError

__all__ = ["Target", "read_target", "stored_target"]

_MOST_BYTES = 4096
_REMEDY = "write one such as https://hooks.example/T000/B000, or name a file that holds it"


@dataclass(frozen=True, slots=True)
class Target:
    """A usable URL; its text is not part of any repr."""

    url: str = field(repr=False)

    @property
    def shown(self) -> str:
        """The part that holds no secret: scheme and host."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}"


def _checked(option: str, url: str) -> Target:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\x00-\x20\x7f]", url) or len(url) > _MOST_BYTES:
        # It may be a secret that was mistyped: it is not repeated.
        raise ConfigError(option, "***", "is not an http or https URL", _REMEDY)
    return Target(url)


def _from_file(option: str, path: Path) -> Target:
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = (error.strerror if isinstance(error, OSError) else None) or "is not ASCII"
        raise ConfigError(option, str(path), f"cannot be read: {problem}", _REMEDY) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(option, str(path), "can be read by other users of this host", f"run chmod 600 {path}")
    return _checked(option, text)


def read_target(given: str, config_dir: Path, option: str = "--webhook") -> Target | None:
    """Returns the target that `given` names, a URL or a file; without one that of the config folder; or None.

    Raises:
        ConfigError: it is no URL, or its file can be read by others.
    """
    if given:
        if "://" in given:
            return _checked(option, given)
        return _from_file(option, Path(given).expanduser())
    kept = config_dir / "webhook"
    return _from_file("webhook", kept) if kept.exists() else None


def stored_target(path: Path) -> Target | None:
    """Returns what a run's directory keeps; None for nothing, or nothing of use."""
    try:
        return _checked("webhook", path.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError, ConfigError):
        return None
