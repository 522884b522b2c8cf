"""The audit log: who did what to which run, one JSON object a line, in the state directory.

Written for every action of the REST API and the command line, by several processes at once; read by `pdpanel audit`.
Holds no secrets (`redact`), is readable by its owner alone, and is kept small: a full file becomes audit.log.1.
What cannot be written never stops an action.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from .file_lock import locked
from .redact import redact

__all__ = ["Audit", "Entry", "local_user"]

_MOST_BYTES = 4 << 20
_KEPT = 3
_LONGEST = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One action.

    Attributes:
        at: unix seconds.
        who: "user:NAME" of a login, "token", or "cli:NAME" of a user of this host.
        address: where the request came from; empty for the command line.
        action: what was asked for, such as "stop" or "up".
        subject: to what: a run, a process.
        outcome: "done", or why it was not.
    """

    at: float
    who: str
    address: str
    action: str
    subject: str
    outcome: str


def local_user() -> str:
    """Returns "cli:NAME" of the user that this process belongs to, by the system's own list."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"cli:{os.getuid()}"


def _plain(value: object) -> object:
    if not isinstance(value, str):
        return value
    return redact(_CONTROL.sub(" ", value))[:_LONGEST]


class Audit:
    """The log in the folder `state_dir`; nothing is made before the first entry."""

    def __init__(self, state_dir: Path, *, most_bytes: int = _MOST_BYTES) -> None:
        self.path = state_dir / "audit.log"
        self._most = most_bytes

    def record(self, entry: Entry) -> bool:
        """Writes one entry; returns False where that is not possible, such as on a full disk."""
        line = json.dumps({key: _plain(value) for key, value in asdict(entry).items()}, ensure_ascii=True) + "\n"
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self.path.with_name(".audit.lock")):
                self._rotate(len(line))
                # Never through a link that somebody put there.
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
                descriptor = os.open(self.path, flags, 0o600)
                try:
                    if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
                        os.fchmod(descriptor, 0o600)
                    os.write(descriptor, line.encode())
                finally:
                    os.close(descriptor)
        except OSError:
            return False
        return True

    def entries(self) -> Iterator[Entry]:
        """Yields what is kept, oldest first; lines that a crash cut off are left out."""
        names = {field.name for field in fields(Entry)}
        for path in [*(self._old(number) for number in range(_KEPT, 0, -1)), self.path]:
            try:
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                continue
            for line in lines:
                try:
                    found = json.loads(line)
                except ValueError:
                    continue
                if isinstance(found, dict) and set(found) == names and isinstance(found["at"], int | float):
                    yield Entry(float(found["at"]), *(str(found[name]) for name in list(Entry.__slots__)[1:]))

    def _old(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _rotate(self, more: int) -> None:
        try:
            size = self.path.lstat().st_size
        except FileNotFoundError:
            return
        if size + more <= self._most:
            return
        for number in range(_KEPT, 1, -1):
            if self._old(number - 1).exists():
                os.replace(self._old(number - 1), self._old(number))
        os.replace(self.path, self._old(1))
