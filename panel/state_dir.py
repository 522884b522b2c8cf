"""The state directory as a whole: whether this version of pdpanel may use it, and whether it can be written.

A file `version` in it holds a number that goes up when older versions would misread what newer ones write. `panel.runs`
calls this before its first look and before its first write; the panel when it starts. Knows nothing of runs.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..engine.errors import ConfigError

__all__ = ["STATE_VERSION", "check_state_dir", "claim_state_dir", "on_full_disk"]

STATE_VERSION = 1
_FILE = "version"
_MOST_BYTES = 100
_REMEDY = "make it usable for this user, or name another with --state-dir or PDPANEL_STATE_DIR"


def check_state_dir(path: Path) -> None:
    """Looks whether this version can read the directory; one that does not exist, or has no number yet, is fine.

    Raises:
        ConfigError: a newer pdpanel has written it, or it cannot be read.
    """
    try:
        with (path / _FILE).open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError("--state-dir", str(path), f"cannot be read: {error.strerror}", _REMEDY) from None
    if not (text.isascii() and text.isdigit()):
        problem = f"has a file named {_FILE} that holds no number"
        raise ConfigError("--state-dir", str(path), problem, f"remove {path / _FILE} unless a newer pdpanel wrote it")
    if int(text) > STATE_VERSION:
        problem = f"was written by a newer pdpanel: its version is {int(text)}, and this pdpanel knows {STATE_VERSION}"
        raise ConfigError("--state-dir", str(path), problem, "update pdpanel, or name another folder with --state-dir")


def claim_state_dir(path: Path) -> None:
    """Makes the directory if it is not there, and looks whether this version can read and this user can write it.

    Raises:
        ConfigError: it cannot be used.
    """
    check_state_dir(path)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A full disk takes no number, but may take the rest later: what is asked for is the right to write.
        writable = os.access(path, os.W_OK | os.X_OK)
        if writable and not (path / _FILE).exists():
            _write(path / _FILE)
    except OSError as error:
        raise ConfigError("--state-dir", str(path), f"cannot be written: {error.strerror}", _REMEDY) from None
    if not writable:
        raise ConfigError("--state-dir", str(path), "cannot be written: it is read-only for this user", _REMEDY)


@contextmanager
def on_full_disk(path: Path) -> Iterator[None]:
    """Makes one sentence of a disk that takes nothing while the context writes below `path`.

    Raises:
        ConfigError: the disk is full, over its quota or read-only.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
            raise
        remedy = "make room, for example with `pdpanel prune`, or name another with --state-dir"
        raise ConfigError("--state-dir", str(path), f"takes no new run: {error.strerror}", remedy) from None


def _write(path: Path) -> None:
    # Threads of one process may claim it at the same time.
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        scratch.write_text(f"{STATE_VERSION}\n")
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
