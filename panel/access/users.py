"""The people who may sign in: `--auth USER:HASH`, or a file of such lines.

Checking a password is slow by purpose; an unknown user costs as much as a known one. Knows no request.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ...engine.errors import ConfigError
from .password import PasswordHash, hash_password, parse_hash

__all__ = ["Users", "read_users"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_MOST_USERS = 1000


@dataclass(frozen=True, slots=True)
class Users:
    """Users and the hashes of their passwords; none at all means that the panel is used by its token."""

    hashes: Mapping[str, PasswordHash] = field(default_factory=lambda: MappingProxyType({}))

    def __bool__(self) -> bool:
        return bool(self.hashes)

    def check(self, user: str, password: str) -> bool:
        """Returns True when this is the user's password; blocks for some 100 ms either way."""
        known = self.hashes.get(user)
        if known is None:
            # Some other user's hash: an unknown name must not answer sooner.
            next(iter(self.hashes.values()), _stand_in()).matches(password)
            return False
        return known.matches(password)


def _stand_in() -> PasswordHash:
    return hash_password("nobody's password", n=2)


def _read_file(path: Path) -> list[str]:
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = (error.strerror if isinstance(error, OSError) else None) or "is not text"
        remedy = "name a file of USER:HASH lines, or give USER:HASH itself"
        raise ConfigError("--auth", str(path), f"cannot be read: {problem}", remedy) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError("--auth", str(path), "can be read by other users of this host", f"run chmod 600 {path}")
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def read_users(given: Iterable[str]) -> Users:
    """Returns the users of the values of `--auth`: USER:HASH each, or the path of a file with one a line.

    Raises:
        ConfigError: one is neither, a name is given twice, or the file is readable by others.
    """
    hashes: dict[str, PasswordHash] = {}
    lines: list[str] = []
    for value in given:
        lines += [value] if ":" in value and not value.startswith(("/", "./", "../", "~")) else _read_file(_path(value))
    for line in lines:
        name, colon, text = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            remedy = "write USER:HASH, the user of letters, digits and . _ @ -"
            raise ConfigError("--auth", f"{name[:64] if colon else '***'}", "names no user", remedy)
        if name in hashes:
            raise ConfigError("--auth", f"{name}:***", "names this user a second time", "keep one of them")
        hashes[name] = parse_hash(name, text)
    if len(hashes) > _MOST_USERS:
        raise ConfigError("--auth", len(hashes), "are too many users", f"keep at most {_MOST_USERS}")
    return Users(MappingProxyType(hashes))


def _path(value: str) -> Path:
    path = Path(value).expanduser()
    if not path.exists():
        # Perhaps a password: it is not repeated.
        raise ConfigError("--auth", "***", "is neither USER:HASH nor a file", "write alice:HASH, or name a file")
    return path
